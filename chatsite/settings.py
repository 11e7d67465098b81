"""Settings of the site, all of them from the environment. ``.env.example`` lists the variables."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

import django
import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from chatkit_endpoint.conf import Conf

from . import csp, env

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"

environ.Env.read_env(BASE_DIR / ".env")

DEBUG = env.flag("DJANGO_DEBUG")


def _secret_key() -> str:
    """The key from the environment; while developing, one that is made once and kept."""
    if key := env.text("DJANGO_SECRET_KEY"):
        return key
    if not DEBUG:
        raise ImproperlyConfigured(
            "Set DJANGO_SECRET_KEY to a long random value, or DJANGO_DEBUG=1 on your own machine."
        )
    kept = VAR_DIR / "secret-key"
    if not kept.exists():
        VAR_DIR.mkdir(exist_ok=True)
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_urlsafe(50), encoding="utf-8")
    return kept.read_text(encoding="utf-8")


SECRET_KEY = _secret_key()
ALLOWED_HOSTS = env.words("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("DJANGO_CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "chatsite",
    "chatkit_endpoint",
    "observability",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
]

# Under ASGI chatkit_endpoint.asgi runs those of Django's without their threads.
MIDDLEWARE = [
    "observability.request_ids.request_id_middleware",
    "django.middleware.security.SecurityMiddleware",
    (
        "django.middleware.csp.ContentSecurityPolicyMiddleware"
        if django.VERSION >= (6, 0)
        else "csp.middleware.CSPMiddleware"
    ),
    "chatsite.csp.permissions_policy_middleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "chatsite.urls"
ASGI_APPLICATION = "chatsite.asgi.application"
# The endpoint answers at /chatkit and at /chatkit/: no redirect, which would lose a POST.
APPEND_SLASH = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def _database() -> dict[str, Any]:
    """SQLite under ``var/`` unless DATABASE_URL says otherwise."""
    url = env.text("DATABASE_URL")
    if not url:
        VAR_DIR.mkdir(exist_ok=True)
        url = f"sqlite:///{VAR_DIR / 'db.sqlite3'}"
    config: dict[str, Any] = environ.Env.db_url_config(url)
    config["CONN_MAX_AGE"] = 0  # Under ASGI a kept connection would belong to one thread of many.
    options = config.setdefault("OPTIONS", {})
    if config["ENGINE"] == "django.db.backends.sqlite3":
        # WAL: readers don't wait for the writer. IMMEDIATE: a transaction that reads before it
        # writes waits for its turn; a deferred one would fail at once, whatever the timeout.
        options.setdefault("transaction_mode", "IMMEDIATE")
        options.setdefault("timeout", 20)
        options.setdefault("init_command", "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL")
        # A file: in-memory databases lock whole tables between the threads of one process.
        # Its own for each run, so that two runs don't meet.
        test_file = Path(tempfile.gettempdir()) / f"chatsite-test-{os.getpid()}.sqlite3"
        config["TEST"] = {"NAME": str(test_file)}
    elif config["ENGINE"] == "django.db.backends.postgresql":
        options.setdefault("pool", {"min_size": 1, "max_size": 8, "timeout": 10})
    return config


DATABASES = {"default": _database()}

SESSION_ENGINE = "chatkit_endpoint.sessions"
AUTHENTICATION_BACKENDS = ["chatkit_endpoint.backends.ModelBackend"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "chat"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# The SDK stamps items with naive local time: only in UTC is that the same moment everywhere.
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
LANGUAGE_CODE = "en"
LANGUAGES = [
    ("en", _("English")),
    ("de", _("German")),
    ("fr", _("French")),
    ("es", _("Spanish")),
    ("pt-br", _("Brazilian Portuguese")),
    ("ja", _("Japanese")),
    ("ar", _("Arabic")),
]
LOCALE_PATHS = [BASE_DIR / "locale"]

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
# Compressed by collectstatic, so that a server needs no proxy for it.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "servestatic.storage.CompressedStaticFilesStorage"},
}
# What visitors upload. There is no MEDIA_URL: only their owner gets them, from a view.
MEDIA_ROOT = VAR_DIR / "media"

# Secure as it comes; a bare machine has no TLS, so development does without.
SECURE_SSL_REDIRECT = not DEBUG
SECURE_HSTS_SECONDS = 0 if DEBUG else 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = not DEBUG
SECURE_HSTS_PRELOAD = not DEBUG
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG
X_FRAME_OPTIONS = "DENY"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "request_id": {"()": "observability.request_ids.RequestIDFilter"},
        "no_exception_text": {"()": "observability.logs.NoExceptionTextFilter"},
    },
    "formatters": {
        "json": {"()": "observability.json_log.JSONFormatter"},
        "line": {"()": "observability.json_log.LineFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "filters": ["request_id", "no_exception_text"],
            "formatter": "line" if DEBUG else "json",
        }
    },
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        # uvicorn brings handlers of its own, which know no request id.
        "uvicorn": {"handlers": [], "propagate": True},
        "uvicorn.access": {"level": "WARNING"},
        # httpx logs whole URLs at INFO, and the Anosys URL is a credential.
        "httpx": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        # It brings handlers of its own too.
        "django": {"handlers": [], "level": "INFO"},
        # "Received request op", for every request: our own lines say more.
        "chatkit": {"level": "WARNING"},
    },
}

OPENAI_API_KEY = env.text("OPENAI_API_KEY")
OPENAI_BASE_URL = env.text("OPENAI_BASE_URL")
CHATKIT_MODEL = env.text("CHATKIT_MODEL", "gpt-5-mini")
CHATKIT_CLIENT = env.text("CHATKIT_CLIENT")
CHATKIT_DOMAIN_KEY = env.text("CHATKIT_DOMAIN_KEY")
CHATKIT_RATE_LIMIT = env.text("CHATKIT_RATE_LIMIT", Conf.chatkit_rate_limit)
CHATKIT_ADDRESS_RATE_LIMIT = env.text("CHATKIT_ADDRESS_RATE_LIMIT", Conf.chatkit_address_rate_limit)
CHATKIT_TRUSTED_PROXIES = env.whole("CHATKIT_TRUSTED_PROXIES", Conf.chatkit_trusted_proxies)
CHATKIT_MAX_STREAMS = env.whole("CHATKIT_MAX_STREAMS", Conf.chatkit_max_streams)
CHATKIT_OWN_CORE = env.flag("CHATKIT_OWN_CORE")
CHATKIT_ALLOW_ANONYMOUS = env.flag("CHATKIT_ALLOW_ANONYMOUS")
CHATKIT_TRANSCRIPTION_MODEL = env.text(
    "CHATKIT_TRANSCRIPTION_MODEL", Conf.chatkit_transcription_model
)
CHATKIT_WORKFLOW_ID = env.text("CHATKIT_WORKFLOW_ID")
OBSERVABILITY_TEXT = env.text("OBSERVABILITY_TEXT") or "full"
ANOSYS_API_KEY = env.text("ANOSYS_API_KEY")
ANOSYS_RESOLVER_URL = env.text(
    "ANOSYS_RESOLVER_URL", "https://console.anosys.ai/api/resolveapikeys"
)
ANOSYS_INGESTION_URL = env.text("ANOSYS_INGESTION_URL")
ANOSYS_TEXT = env.text("ANOSYS_TEXT") or "redacted"
OTEL_EXPORTER_OTLP_ENDPOINT = env.text("OTEL_EXPORTER_OTLP_ENDPOINT")
OTEL_EXPORTER_OTLP_HEADERS = env.text("OTEL_EXPORTER_OTLP_HEADERS")
OBSERVABILITY_OTLP_TEXT = env.text("OBSERVABILITY_OTLP_TEXT") or "none"
OBSERVABILITY_WEBHOOK_URL = env.text("OBSERVABILITY_WEBHOOK_URL")
OBSERVABILITY_WEBHOOK_SECRET = env.text("OBSERVABILITY_WEBHOOK_SECRET")
OBSERVABILITY_WEBHOOK_TEXT = env.text("OBSERVABILITY_WEBHOOK_TEXT") or "redacted"
OBSERVABILITY_PSEUDONYM_KEY = env.text("OBSERVABILITY_PSEUDONYM_KEY")
OBSERVABILITY_ENCRYPTION_KEYS = env.words("OBSERVABILITY_ENCRYPTION_KEYS")
THREAD_RETENTION_DAYS = env.whole("THREAD_RETENTION_DAYS")
TRACE_RETENTION_DAYS = env.whole("TRACE_RETENTION_DAYS")
OBSERVABILITY_REQUEST_RETENTION_DAYS = env.whole("OBSERVABILITY_REQUEST_RETENTION_DAYS", 7)
OBSERVABILITY_EVENT_RETENTION_DAYS = env.whole("OBSERVABILITY_EVENT_RETENTION_DAYS", 90)
OBSERVABILITY_DELIVERY_RETENTION_DAYS = env.whole("OBSERVABILITY_DELIVERY_RETENTION_DAYS", 30)
OBSERVABILITY_METRICS = env.flag("OBSERVABILITY_METRICS")
OBSERVABILITY_METRICS_TOKEN = env.text("OBSERVABILITY_METRICS_TOKEN")

# Last: which hosts a page may load from depends on the chat's element.
_element = Conf(chatkit_client=CHATKIT_CLIENT, chatkit_domain_key=CHATKIT_DOMAIN_KEY)
_policy = csp.policy(_element.script_url if _element.client != "builtin" else None)
if django.VERSION >= (6, 0):
    SECURE_CSP = _policy
else:
    CONTENT_SECURITY_POLICY = {"DIRECTIVES": _policy}

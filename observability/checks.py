"""Bad or missing settings, said before they hurt."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.translation import gettext as _

from . import destinations, encryption, otlp
from .conf import conf
from .http_client import is_address
from .text_levels import Level


@register("observability")
def check_forwarding(**kwargs: Any) -> list[CheckMessage]:
    settings = conf()
    messages: list[CheckMessage] = []
    if not destinations.enabled():
        messages.append(
            Info(
                _("ANOSYS_API_KEY is not set: turns are recorded here and forwarded to nobody."),
                hint=_("Set it to the key of an Anosys pixel of the type Agentic AI."),
                id="observability.I001",
            )
        )
    for name in ("anosys_resolver_url", "anosys_ingestion_url", "observability_webhook_url"):
        url = getattr(settings, name)
        if url and not _is_private(url):
            # Without the value: the ingestion URL is a credential.
            messages.append(
                Error(
                    _("%(name)s is not an https address.") % {"name": name.upper()},
                    hint=_("Conversations go there: only https, or http to this very machine."),
                    id="observability.E001",
                )
            )
    if settings.observability_webhook_url and not settings.observability_webhook_secret:
        messages.append(
            Error(
                _("OBSERVABILITY_WEBHOOK_URL is set without OBSERVABILITY_WEBHOOK_SECRET."),
                hint=_("Nothing is posted unsigned: set a long random secret."),
                id="observability.E002",
            )
        )
    messages += [
        Error(
            _("%(name)s is none of: %(levels)s.")
            % {"name": name.upper(), "levels": ", ".join(Level.values)},
            hint=_("Until it is, no text is kept or sent there."),
            id="observability.E005",
        )
        for name in (
            "observability_text",
            *sorted(each.text_setting for each in destinations.registry().values()),
        )
        if getattr(settings, name) not in Level.values
    ]
    return messages


@register("observability")
def check_opentelemetry(**kwargs: Any) -> list[CheckMessage]:
    endpoint = conf().otel_exporter_otlp_endpoint
    messages: list[CheckMessage] = []
    if not endpoint:
        return messages
    if not is_address(endpoint):
        messages.append(
            Error(
                _("OTEL_EXPORTER_OTLP_ENDPOINT is not an http or https address."),
                hint=_("Without /v1/traces, such as https://collector.example:4318"),
                id="observability.E003",
            )
        )
    elif not _is_private(endpoint):
        messages.append(
            Warning(
                _("OTEL_EXPORTER_OTLP_ENDPOINT is plain http to another machine."),
                hint=_("Use https, unless nobody else can listen on the way."),
                id="observability.W002",
            )
        )
    if not otlp.is_installed():
        messages.append(
            Error(
                _("OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry’s packages are missing."),
                hint=_("Install django-chatkit-observability[otel]; until then, turns wait."),
                id="observability.E004",
            )
        )
    return messages


@register("observability")
def check_encryption(**kwargs: Any) -> list[CheckMessage]:
    if not encryption.is_on():
        return []
    if find_spec("cryptography") is None:
        return [
            Error(
                _("OBSERVABILITY_ENCRYPTION_KEYS is set, but the package cryptography is missing."),
                hint=_("Install django-chatkit-observability[encryption]."),
                id="observability.E006",
            )
        ]
    try:
        encryption.fernets()
    except ImproperlyConfigured:
        # Without the value, which may be a key with a letter too few.
        return [
            Error(
                _("OBSERVABILITY_ENCRYPTION_KEYS holds what is no Fernet key."),
                hint=_("32 random bytes in URL-safe base64; docs/privacy.md says how to make one."),
                id="observability.E007",
            )
        ]
    return [
        Info(
            _("What was said is stored encrypted: no search finds its words."),
            hint=_("After a change of the keys, run manage.py rotate_encryption."),
            id="observability.I002",
        )
    ]


def _is_private(address: str) -> bool:
    """Whether nobody can listen on the way there."""
    url = urlsplit(address)
    return url.scheme == "https" or (
        url.scheme == "http" and url.hostname in {"127.0.0.1", "localhost", "::1"}
    )


@register(Tags.database)
def check_database(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """SQLite must begin its transactions IMMEDIATE, or workers fail with "database is locked"."""
    return [
        Warning(
            _("The database '%(alias)s' is SQLite without immediate transactions.")
            % {"alias": alias},
            hint=_('Set OPTIONS["transaction_mode"] = "IMMEDIATE" for it in DATABASES.'),
            id="observability.W001",
        )
        for alias in databases or ()
        if connections[alias].vendor == "sqlite"
        and connections[alias].settings_dict["OPTIONS"].get("transaction_mode") != "IMMEDIATE"
    ]

"""A Django project with a ChatKit endpoint and without us: what our memory is held against.

The same apps of Django's, signed-in users, conversations in memory, no tracing.
"""

from __future__ import annotations

import os
from typing import Any

import environ
from agents import set_tracing_disabled
from chatkit.server import ChatKitServer, StreamingResult
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.module_loading import import_string

from .bare import MemoryStore

set_tracing_disabled(True)


async def chatkit(request: HttpRequest) -> HttpResponseBase:
    if not (await request.auser()).is_authenticated:
        return HttpResponse(status=401)
    result = await _server.process(request.body, {"request": request})
    if isinstance(result, StreamingResult):
        return StreamingHttpResponse(result, content_type="text/event-stream")
    return HttpResponse(result.json, content_type="application/json")


urlpatterns = [path("chatkit", chatkit)]

_contrib = "django.contrib"
settings.configure(
    DATABASES={"default": environ.Env.db_url_config(os.environ["DATABASE_URL"])},
    SECRET_KEY=os.environ["DJANGO_SECRET_KEY"],
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        f"{_contrib}.{app}"
        for app in ("admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        f"{_contrib}.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        f"{_contrib}.auth.middleware.AuthenticationMiddleware",
        f"{_contrib}.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    USE_TZ=True,
)
application = get_asgi_application()
_server: ChatKitServer[Any] = import_string(os.environ["BENCHMARK_SERVER"])(MemoryStore())

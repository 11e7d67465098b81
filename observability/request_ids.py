"""The request id: taken from ``X-Request-ID`` or made, sent back, and on every log line."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from django.utils.decorators import sync_and_async_middleware

from .identifiers import new_id

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

HEADER = "X-Request-ID"
NONE = "-"
# What proxies send: UUIDs, hex, nginx's $request_id, AWS' Root=1-…; nothing to forge a line with.
_ACCEPTED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+/-]{7,127}", re.ASCII)

current_request_id: ContextVar[str] = ContextVar("request_id", default=NONE)


def request_id_of(request: HttpRequest) -> str:
    """This request's id, the same at every call: the caller's where it is well-formed, else new."""
    known: str | None = getattr(request, "request_id", None)
    if known is None:
        sent = request.headers.get(HEADER, "")
        known = sent if _ACCEPTED.fullmatch(sent) else new_id()
        request.request_id = known  # type: ignore[attr-defined]
    return known


@sync_and_async_middleware
def request_id_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]:
    """Give every request its id, for the log and for the answer. Put it first."""
    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> HttpResponseBase:
            current_request_id.set(request_id_of(request))
            response: HttpResponseBase = await get_response(request)
            response.headers[HEADER] = request_id_of(request)
            return response

        return async_middleware

    def middleware(request: HttpRequest) -> HttpResponseBase:
        token = current_request_id.set(request_id_of(request))
        try:
            response = get_response(request)
        finally:
            current_request_id.reset(token)
        response.headers[HEADER] = request_id_of(request)  # type: ignore[union-attr]
        return response  # type: ignore[return-value]

    return middleware


class RequestIDFilter(logging.Filter):
    """Puts ``request_id`` on each log record: that of the request or turn at work, else ``-``."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = current_request_id.get()
        return True

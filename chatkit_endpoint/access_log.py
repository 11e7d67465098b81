"""One line when a request to the chat comes in, one when it is answered, and a row to look up.

The line in is written when it is known who asks for what, or with the refusal; the line out when
the answer ended, which for a stream is when its turn did, and the row with it. None of them holds
a word of a visitor's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve
from django.utils import timezone

from observability import requests
from observability.request_ids import request_id_of

if TYPE_CHECKING:
    from .context import RequestContext

logger = logging.getLogger(__name__)

CLIENT_LEFT = 499
"""The status, as nginx calls it, of a request that nobody waited for."""
MAX_VALUE_CHARS = 200
_UNKEPT = frozenset({"observability-events"})
"""Names of addresses that have no row: what browsers tell is kept as client events."""

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


class Visit:
    """What the two lines and the row about one request say."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._began_at = timezone.now()
        self._began = time.perf_counter()
        self._context: RequestContext | None = None
        self._is_in = False
        self._fields: dict[str, Any] = {
            "method": request.method,
            "path": request.path,
            "request_id": request_id_of(request),
        }

    def come_in(self, context: RequestContext | None = None, thread_id: str = "") -> None:
        """Write the line in, unless it stands already."""
        if self._is_in:
            return
        self._is_in = True
        if context is not None:
            self._context = context
            self._fields |= {
                "operation": context.operation,
                "user": context.owner_key,
                "tenant": context.tenant,
                "thread": thread_id,
                "session": context.session_id,
            }
        self._write("in")

    def go_out(self, status: int, error_code: str = "") -> None:
        """Write the line out, and have the row kept. A turn knows better what failed in it."""
        self.come_in()
        self._fields["error"] = error_code
        turn = self._context.turn if self._context is not None else None
        if turn is not None:
            self._fields |= {
                "thread": turn.thread_id,
                "turn": turn.trace_id,
                "outcome": str(turn.status),
                "error": turn.error_code,
            }
        milliseconds = round((time.perf_counter() - self._began) * 1000)
        self._write("out", status=int(status), ms=milliseconds)
        if _is_kept(self._request):
            self._keep(int(status), milliseconds)

    def _keep(self, status: int, milliseconds: int) -> None:
        told = self._fields
        requests.note(
            started_at=self._began_at,
            status=status,
            total_ms=milliseconds,
            operation=told.get("operation", ""),
            error_code=told["error"],
            tenant=told.get("tenant", ""),
            owner_key=told.get("user", ""),
            thread_id=told.get("thread", ""),
            session_id=told.get("session", ""),
            request_id=told["request_id"],
            trace_id=told.get("turn", ""),
        )

    def _write(self, direction: str, **more: int) -> None:
        fields = {
            name: value[:MAX_VALUE_CHARS] if isinstance(value, str) else value
            for name, value in {**self._fields, **more}.items()
            if value != ""
        }
        request_id = fields.pop("request_id")
        logger.info("chat %s", direction, extra={"fields": fields, "request_id": request_id})


def tells_access(view: View) -> View:
    """Have an async view's requests logged and, as rows, kept for a while.

    :func:`visit_of` is where it says more of one.
    """

    @wraps(view)
    async def told(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        visit = visit_of(request)
        try:
            response = await view(request, *args, **kwargs)
        except asyncio.CancelledError:
            visit.go_out(CLIENT_LEFT)
            raise
        except Exception as error:
            visit.go_out(HTTPStatus.INTERNAL_SERVER_ERROR, type(error).__name__)
            raise
        status = response.status_code
        if (when_over := getattr(response, "when_over", None)) is not None:
            when_over(lambda: visit.go_out(status))
        else:
            visit.go_out(status, getattr(response, "error_code", ""))
        return response

    told.tells_access = True  # type: ignore[attr-defined]
    return told


def _is_kept(request: HttpRequest) -> bool:
    """Whether this is one of ours: also what is refused before any view is asked comes here."""
    try:
        match = request.resolver_match or resolve(request.path_info)
    except Resolver404:
        return False
    return match.url_name not in _UNKEPT and getattr(match.func, "tells_access", False)


def visit_of(request: HttpRequest) -> Visit:
    """The request's visit, the same at every call."""
    visit: Visit | None = getattr(request, "chatkit_visit", None)
    if visit is None:
        visit = request.chatkit_visit = Visit(request)  # type: ignore[attr-defined]
    return visit

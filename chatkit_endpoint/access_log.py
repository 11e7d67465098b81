"""One line when a request to the chat comes in, one when it is answered.

The line in is written when it is known who asks for what, or with the refusal; the line out when
the answer ended, which for a stream is when its turn did. Neither holds a word of a visitor's.
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

from observability.request_ids import request_id_of

if TYPE_CHECKING:
    from .context import RequestContext

logger = logging.getLogger(__name__)

CLIENT_LEFT = 499
"""The status, as nginx calls it, of a request that nobody waited for."""
MAX_VALUE_CHARS = 200

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


class Visit:
    """What the two lines about one request say."""

    def __init__(self, request: HttpRequest) -> None:
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

    def go_out(self, status: int) -> None:
        """Write the line out."""
        self.come_in()
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

    def _write(self, direction: str, **more: int) -> None:
        fields = {
            name: value[:MAX_VALUE_CHARS] if isinstance(value, str) else value
            for name, value in {**self._fields, **more}.items()
            if value != ""
        }
        request_id = fields.pop("request_id")
        logger.info("chat %s", direction, extra={"fields": fields, "request_id": request_id})


def tells_access(view: View) -> View:
    """Have an async view's requests logged; :func:`visit_of` is where it says more of one."""

    @wraps(view)
    async def told(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        visit = visit_of(request)
        try:
            response = await view(request, *args, **kwargs)
        except asyncio.CancelledError:
            visit.go_out(CLIENT_LEFT)
            raise
        except Exception:
            visit.go_out(HTTPStatus.INTERNAL_SERVER_ERROR)
            raise
        status = response.status_code
        if (when_over := getattr(response, "when_over", None)) is not None:
            when_over(lambda: visit.go_out(status))
        else:
            visit.go_out(status)
        return response

    return told


def visit_of(request: HttpRequest) -> Visit:
    """The request's visit, the same at every call."""
    visit: Visit | None = getattr(request, "chatkit_visit", None)
    if visit is None:
        visit = request.chatkit_visit = Visit(request)  # type: ignore[attr-defined]
    return visit

"""No body larger than its view takes, and none that never ends: refused while it arrives.

Django keeps a body, on disk if it is large, before it looks at anything else: who asks, or whether
that is too much. So this stands before Django, counts, and looks at the clock.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.urls import Resolver404, resolve
from django.utils import translation

from observability.request_ids import HEADER, request_id_of

from .access_log import visit_of
from .errors import Fault
from .locales import locale_of

if TYPE_CHECKING:
    from asgiref.typing import (
        ASGI3Application,
        ASGIReceiveCallable,
        ASGIReceiveEvent,
        ASGISendCallable,
        HTTPDisconnectEvent,
        HTTPScope,
        Scope,
    )

LINGER_SECONDS = 5.0
"""How long a refused body is still taken in, and dropped: a connection that is closed while its
client writes is reset, and the client never reads why."""

BODY_SECONDS = 300.0
"""How long a body may take to arrive. Long enough for the largest file over a slow line; meanwhile
it costs a task, no thread and no connection to the database."""

_ATTRIBUTE = "max_body_bytes"
_FAULT = "body_fault"

# To Django, the client has left: it drops what it has and says nothing.
_LEFT: HTTPDisconnectEvent = {"type": "http.disconnect"}

ViewT = TypeVar("ViewT", bound=Callable[..., Any])


def takes_body(
    max_bytes: Callable[[], int], fault: Fault = Fault.BODY_TOO_LARGE
) -> Callable[[ViewT], ViewT]:
    """Say how many bytes of body a view takes, asked at each request, and what is answered where
    there are more. For any kind of view.
    """

    def mark(view: ViewT) -> ViewT:
        setattr(view, _ATTRIBUTE, max_bytes)
        setattr(view, _FAULT, fault)
        return view

    return mark


def with_body_limit(
    application: ASGI3Application, *, default: int | None = None
) -> ASGI3Application:
    """Wrap the site's ASGI application: bodies that are too large get a 413, and those that take
    too long a 408, in JSON.

    Views say with :func:`takes_body` what they take. ``default`` is the limit, in bytes, of all
    others; None: they have none.
    """

    async def wrapped(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        limit, fault = _limit_of(scope, default) if scope["type"] == "http" else (None, None)
        if limit is None or fault is None:
            await application(scope, receive, send)
        elif _announced_bytes(cast("HTTPScope", scope)) > limit:
            await _refuse(fault, scope, receive, send)
        else:
            await _limited(application, limit, fault, scope, receive, send)

    return wrapped


async def _limited(
    application: ASGI3Application,
    limit: int,
    too_large: Fault,
    scope: Any,
    receive: ASGIReceiveCallable,
    send: Any,
) -> None:
    received = 0
    is_whole = False
    refusal: Fault | None = None
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS

    async def counted() -> ASGIReceiveEvent:
        nonlocal received, is_whole, refusal
        if is_whole:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            refusal = Fault.TOO_SLOW
            return _LEFT
        if message["type"] == "http.request":
            is_whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > limit:
                refusal = too_large
                return _LEFT
        return message

    await application(scope, counted, send)
    if refusal is not None:
        await _refuse(refusal, scope, receive, send)


async def _refuse(fault: Fault, scope: Any, receive: ASGIReceiveCallable, send: Any) -> None:
    request = ASGIRequest(scope, io.BytesIO())
    with translation.override(locale_of(request)):
        response = fault.response()
    visit_of(request).go_out(fault.status, fault.code)
    headers = {
        "Connection": "close",
        "Content-Length": str(len(response.content)),
        "Content-Type": response.headers["Content-Type"],
        "X-Content-Type-Options": "nosniff",
        HEADER: request_id_of(request),
    }
    await send(
        {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": response.content, "more_body": True})
    await _linger(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _linger(receive: ASGIReceiveCallable) -> None:
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while True:
                message: Any = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _limit_of(scope: Any, default: int | None) -> tuple[int | None, Fault]:
    """How much the view takes that will answer, and what it says of more."""
    prefix = get_script_prefix(scope)
    path = scope["path"].removeprefix(prefix.rstrip("/"))
    try:
        view = resolve(path).func
    except Resolver404:
        return default, Fault.BODY_TOO_LARGE
    max_bytes: Callable[[], int] | None = getattr(view, _ATTRIBUTE, None)
    limit = default if max_bytes is None else max_bytes()
    return limit, getattr(view, _FAULT, Fault.BODY_TOO_LARGE)


def _announced_bytes(scope: HTTPScope) -> int:
    """What Content-Length says; 0 where it says nothing of use: the bytes are counted anyway."""
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return max((int(value) for value in lengths if value.isdigit()), default=0)

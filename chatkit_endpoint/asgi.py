"""The ASGI application of a site that chats: Django's, and what a chat needs before and around it.

Django takes a thread for whatever might block, a new one for each request, and asgiref one more to
end that: about four milliseconds of a turn. Here middleware that can't block takes none, and
threads are kept for the next request. A view sees no difference: the synchronous parts of one
request still share one thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import django
from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connections, reset_queries

if TYPE_CHECKING:
    from asgiref.typing import ASGI3Application

KEPT_THREADS = 64
"""How many requests' threads are kept at most. Open requests have one each, as ever."""

_idle: list[ThreadPoolExecutor] = []


class Handler(ASGIHandler):
    """Django's, with fewer threads."""

    def load_middleware(self, is_async: bool = False) -> None:
        from .middleware import without_threads

        # By their usual names in the settings, where Django's deployment checks look for them.
        named = settings.MIDDLEWARE
        settings.MIDDLEWARE = without_threads(list(named))
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = named

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with _kept_thread():
            await super().__call__(scope, receive, send)


def get_asgi_application(*, max_body_bytes: int | None = None) -> ASGI3Application:
    """Set Django up, and return its application with all that a chat needs: for a site's asgi.py.

    Bodies that are too large are refused while they arrive. ``max_body_bytes`` is the limit of
    views that don't say one of their own; None: they have none. The worker starts and ends with
    the process.
    """
    django.setup(set_prefix=False)
    from .body_limit import with_body_limit
    from .lifespan import with_lifespan

    if not settings.DEBUG:
        _end_without_connections()
    application: Any = Handler()
    return with_lifespan(with_body_limit(application, default=max_body_bytes))


def _end_without_connections() -> None:
    """Close the connections of a request's thread at its end, as if the thread ended too. So there
    is nothing to look after at the start of the next, for which Django takes one more hop.
    """
    for receiver in (close_old_connections, reset_queries):
        request_started.disconnect(receiver)
    request_finished.connect(_close_connections)


def _close_connections(**kwargs: Any) -> None:
    for each in connections.all(initialized_only=True):
        if not each.in_atomic_block:
            each.close()


@contextmanager
def _kept_thread() -> Iterator[None]:
    """A thread for the synchronous parts of one request, in a context of the request's own: a task
    that outlives the request has left it, and gets one from asgiref.
    """
    thread = _idle.pop() if _idle else ThreadPoolExecutor(1, thread_name_prefix="request")
    # Django enters a context of its own only where there is none.
    context = ThreadSensitiveContext()
    SyncToAsync.context_to_thread_executor[context] = thread
    token = SyncToAsync.thread_sensitive_context.set(context)
    is_over = False
    try:
        yield
        is_over = True
    finally:
        SyncToAsync.thread_sensitive_context.reset(token)
        SyncToAsync.context_to_thread_executor.pop(context, None)
        # After an exception it may be at work still, or have a connection.
        if is_over and len(_idle) < KEPT_THREADS:
            _idle.append(thread)
        else:
            thread.shutdown(wait=False)

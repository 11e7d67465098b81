"""Django's own middleware, without its threads.

Under ASGI Django runs the two halves of each on a thread, one after the other, and waits. What
these do is look at cookies and headers: a dozen and a half hops of a tenth of a millisecond and
more, for nothing. Here they run where the request is; only what is to be saved, and a form that is
to be read, takes a thread. ``chatkit_endpoint.asgi`` has them stand in for those that the settings
name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.middleware import clickjacking, common, csrf, locale, security
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

_csp: Any = import_string(
    "django.middleware.csp.ContentSecurityPolicyMiddleware"
    if django.VERSION >= (6, 0)
    else "csp.middleware.CSPMiddleware"
)


class _WithoutThreads:
    if TYPE_CHECKING:
        get_response: Any
        process_request: Any
        process_response: Any

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase | None = None
        if hasattr(self, "process_request"):
            response = self.process_request(request)
        response = response or await self.get_response(request)
        if hasattr(self, "process_response"):
            process = self.process_response
            if self.saves(request):
                response = await sync_to_async(process, thread_sensitive=True)(request, response)
            else:
                response = process(request, response)
        return response

    def saves(self, request: HttpRequest) -> bool:
        """Whether the second half has something to write."""
        return False


class CommonMiddleware(_WithoutThreads, common.CommonMiddleware):
    pass


class ContentSecurityPolicyMiddleware(_WithoutThreads, _csp):  # type: ignore[misc]
    """Django 6's, and django-csp's before it."""


class CsrfViewMiddleware(_WithoutThreads, csrf.CsrfViewMiddleware):
    """For tokens in cookies: those in sessions are read and written as these are."""

    async def process_view(  # type: ignore[override]
        self,
        request: HttpRequest,
        view: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> HttpResponseBase | None:
        check = super().process_view
        if request.method in {"GET", "HEAD"} or getattr(view, "csrf_exempt", False):
            return check(request, view, args, kwargs)
        # It looks for the token in the form, which is read from the disk if it is large.
        return await sync_to_async(check, thread_sensitive=True)(request, view, args, kwargs)


class LocaleMiddleware(_WithoutThreads, locale.LocaleMiddleware):
    pass


class AuthenticationMiddleware(_WithoutThreads, auth.AuthenticationMiddleware):
    pass


class MessageMiddleware(_WithoutThreads, messages.MessageMiddleware):
    def saves(self, request: HttpRequest) -> bool:
        storage: Any = getattr(request, "_messages", None)
        return storage is not None and (storage.used or storage.added_new)


class SecurityMiddleware(_WithoutThreads, security.SecurityMiddleware):
    pass


class SessionMiddleware(_WithoutThreads, sessions.SessionMiddleware):
    def saves(self, request: HttpRequest) -> bool:
        session = getattr(request, "session", None)  # A view may have taken it away.
        return session is not None and (session.modified or settings.SESSION_SAVE_EVERY_REQUEST)


class XFrameOptionsMiddleware(_WithoutThreads, clickjacking.XFrameOptionsMiddleware):
    pass


_STAND_INS = {
    f"{original.__module__}.{original.__qualname__}": f"{__name__}.{ours.__qualname__}"
    for ours in _WithoutThreads.__subclasses__()
    for original in ours.__bases__[1:]
}


def without_threads(named: list[str]) -> list[str]:
    """These middlewares, by their dotted names: of Django's, those that need no thread."""
    stand_ins = dict(_STAND_INS)
    if settings.CSRF_USE_SESSIONS:
        del stand_ins["django.middleware.csrf.CsrfViewMiddleware"]
    return [stand_ins.get(name, name) for name in named]

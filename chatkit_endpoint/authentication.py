"""Who asks: by the site's authentication classes, by its session, as a guest, or nobody."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpResponse, QueryDict
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.module_loading import import_string
from rest_framework.exceptions import APIException, PermissionDenied
from rest_framework.request import Request

from observability.database import run_in_database
from observability.request_ids import request_id_of

from .conf import conf
from .context import RequestContext
from .errors import Fault, Refused
from .guests import guest_key
from .locales import locale_of
from .owners import owner_key_of, tenant_of

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser
    from django.http import HttpRequest

_ASKS_DATABASE = "rest_framework.authentication."
"""Where the classes are that ask nothing but the database."""
_SESSION_ID = re.compile(r"[A-Za-z0-9-]{8,64}", re.ASCII)


class _Asked(Request):
    """A request whose body need not be read to learn who sent it: the CSRF token is a header's."""

    @property
    def POST(self) -> QueryDict:  # type: ignore[override]  # noqa: N802 (the name it has there)
        return QueryDict()


async def context_of(request: HttpRequest) -> RequestContext:
    """The context of a request to the chat. Raises Refused for who may not ask.

    One thread does all of it, session, user, CSRF and tenant, and keeps no connection for it.
    """
    if all(name.startswith(_ASKS_DATABASE) for name in conf().chatkit_authentication_classes):
        return await run_in_database(_context_of, request)
    # Who knows how long a site's own take, and whom they ask: not on one of a few threads.
    return await sync_to_async(_letting_go, thread_sensitive=False)(request)


def _letting_go(request: HttpRequest) -> RequestContext:
    try:
        return _context_of(request)
    finally:
        connections.close_all()


def _context_of(request: HttpRequest) -> RequestContext:
    user = _user_of(request)
    owner_key = owner_key_of(user) if user is not None else _guest(request)
    session_id = request.headers.get("X-ChatKit-Session", "")
    return RequestContext(
        user=user,
        owner_key=owner_key,
        tenant=tenant_of(request),
        session_id=session_id if _SESSION_ID.fullmatch(session_id) else "",
        request_id=request_id_of(request),
        locale=locale_of(request),
        base_url=request.build_absolute_uri("/"),
    )


def _user_of(request: HttpRequest) -> AbstractBaseUser | None:
    """The user, by the first of the site's authentication classes that knows one."""
    classes = [import_string(name) for name in conf().chatkit_authentication_classes]
    asked: Any = _Asked(request, authenticators=[each() for each in classes])
    try:
        user = asked.user
    except PermissionDenied as error:
        # What the session's class raises where the CSRF check fails.
        raise Refused(Fault.CSRF) from error
    except APIException as error:
        raise Refused(Fault.UNAUTHENTICATED) from error
    return user if user is not None and user.is_authenticated else None


def _guest(request: HttpRequest) -> str:
    """The guest's owner key. Raises Refused where there are no guests."""
    if not conf().chatkit_allow_anonymous:
        raise Refused(Fault.UNAUTHENTICATED)
    if not _is_from_our_pages(request):
        raise Refused(Fault.CSRF)
    return guest_key(request)


def _is_from_our_pages(request: HttpRequest) -> bool:
    """Django's own check against cross-site request forgery."""
    check = CsrfViewMiddleware(_protected)
    check.process_request(request)
    return check.process_view(request, _protected, (), {}) is None


def _protected(request: HttpRequest) -> HttpResponse:
    """What the check stands before. It wants a view, and ours says that it is exempt."""
    return HttpResponse()

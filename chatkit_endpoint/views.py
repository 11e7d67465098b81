"""HTTP in, ChatKit out: the one endpoint that a ChatKit client talks to."""

from __future__ import annotations

import logging
import re

from asgiref.sync import sync_to_async
from django.core.exceptions import RequestDataTooBig
from django.db import DataError, connections
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt

from observability.request_ids import request_id_of

from .conf import conf
from .context import RequestContext
from .errors import Fault
from .locales import locale_of

logger = logging.getLogger(__name__)

_FORMS = frozenset({"multipart/form-data", "application/x-www-form-urlencoded"})
_SESSION_ID = re.compile(r"[A-Za-z0-9-]{8,64}", re.ASCII)


# Not exempt at all: checked in the view, since the middleware parses a form before it looks.
@csrf_exempt
async def chatkit(request: HttpRequest) -> HttpResponseBase:
    """Answer one ChatKit request: JSON, or a stream of server-sent events.

    Errors are JSON, ``{"error": {"code", "message"}}``, in the visitor's language. A plain view
    on purpose: Django REST framework can't stream from async code.
    """
    locale = locale_of(request)
    with translation.override(locale):
        if request.method != "POST":
            response = Fault.METHOD.response()
            response.headers["Allow"] = "POST"
            return response
        if request.content_type in _FORMS:
            return Fault.INVALID.response()
        if not await sync_to_async(_is_from_our_pages)(request):
            return Fault.CSRF.response()
        context = await _context(request, locale)
        if context is None:
            return Fault.UNAUTHENTICATED.response()
        body = _body(request)
        if body is None:
            return Fault.TOO_LARGE.response()
        # The session and the user are read; a stream must not hold their connection.
        await sync_to_async(connections.close_all)()
        return await _answer(body, context)


def _is_from_our_pages(request: HttpRequest) -> bool:
    """Django's own check against cross-site request forgery."""
    check = CsrfViewMiddleware(_protected)
    check.process_request(request)
    return check.process_view(request, _protected, (), {}) is None


def _protected(request: HttpRequest) -> HttpResponse:
    """What the check stands before. It wants a view, and ours says that it is exempt."""
    return HttpResponse()


async def _context(request: HttpRequest, locale: str) -> RequestContext | None:
    """Who asks; None where nobody is signed in."""
    user = await request.auser()
    if not user.is_authenticated:
        return None
    session_id = request.headers.get("X-ChatKit-Session", "")
    return RequestContext(
        user=user,
        owner_key=f"user:{user.pk}",
        session_id=session_id if _SESSION_ID.fullmatch(session_id) else "",
        request_id=request_id_of(request),
        locale=locale,
    )


def _body(request: HttpRequest) -> bytes | None:
    """The request's body; None where it is too large."""
    try:
        body = request.body
    except RequestDataTooBig:
        return None
    return body if len(body) <= conf().chatkit_max_body_bytes else None


async def _answer(body: bytes, context: RequestContext) -> HttpResponseBase:
    # Late: the SDK takes more than a second to import; commands that don't chat need not wait.
    from chatkit.server import StreamingResult
    from chatkit.store import NotFoundError
    from pydantic import ValidationError

    from .protocol import parse, with_zone
    from .server import get_server
    from .streaming import EventStreamResponse, NothingStreamed, OwnedStream

    try:
        parsed = parse(body)
    except ValidationError:
        return Fault.INVALID.response()
    context.operation = parsed.type
    server = get_server()
    if parsed.type.startswith("attachments.") and server.attachment_store is None:
        return Fault.UNSUPPORTED.response()
    try:
        result = await server.process(body, context)
        if not isinstance(result, StreamingResult):
            return HttpResponse(with_zone(result.json), content_type="application/json")
        stream = OwnedStream(result, context)
        await stream.begin()
        return EventStreamResponse(stream)
    except (NotFoundError, NothingStreamed):
        return Fault.NOT_FOUND.response()
    except NotImplementedError:
        return Fault.UNSUPPORTED.response()
    except ValidationError as error:
        # Not the request, which was valid: something that is stored.
        return _server_error(context, error)
    except DataError:
        # What no text of the database may hold: NUL, on PostgreSQL.
        return Fault.INVALID.response()
    except ValueError:
        # The SDK's word for a request that does not fit its thread.
        return Fault.INVALID.response()
    except Exception as error:
        return _server_error(context, error)


def _server_error(context: RequestContext, error: Exception) -> HttpResponse:
    # The text of an exception may quote a visitor: observability.logs leaves it out.
    logger.error("%s failed: %s", context.operation, type(error).__name__, exc_info=error)
    return Fault.SERVER.response()

"""HTTP in, ChatKit out: the one endpoint that a ChatKit client talks to."""

from __future__ import annotations

import logging

from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError, DataError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt

from .access_log import tells_access, visit_of
from .authentication import context_of
from .body_limit import takes_body
from .conf import conf
from .context import RequestContext
from .errors import Fault, Refused
from .locales import locale_of

logger = logging.getLogger(__name__)

_FORMS = frozenset({"multipart/form-data", "application/x-www-form-urlencoded"})


# Not exempt at all: checked with the session, since the middleware parses a form before it looks,
# and since a request with a token of its own needs no check.
@csrf_exempt
@takes_body(lambda: conf().chatkit_max_body_bytes, Fault.TOO_LARGE)
@tells_access
async def chatkit(request: HttpRequest) -> HttpResponseBase:
    """Answer one ChatKit request: JSON, or a stream of server-sent events.

    Errors are JSON, ``{"error": {"code", "message"}}``, in the visitor's language. A plain view
    on purpose: Django REST framework can't stream from async code.
    """
    with translation.override(locale_of(request)):
        if request.method != "POST":
            response = Fault.METHOD.response()
            response.headers["Allow"] = "POST"
            return response
        try:
            if request.content_type in _FORMS:
                raise Refused(Fault.INVALID)
            context = await context_of(request)
            return await _answer(request, context)
        except Refused as refusal:
            return refusal.response()
        except (DatabaseError, InterfaceError) as error:
            logger.error("Who asks can't be said: %s", type(error).__name__, exc_info=error)
            return Fault.SERVER.response()


def _body(request: HttpRequest) -> bytes:
    """The request's body. Raises Refused where it is too large."""
    try:
        body = request.body
    except RequestDataTooBig as error:
        raise Refused(Fault.TOO_LARGE) from error
    if len(body) > conf().chatkit_max_body_bytes:
        raise Refused(Fault.TOO_LARGE)
    return body


async def _answer(request: HttpRequest, context: RequestContext) -> HttpResponseBase:
    # Late: the SDK takes more than a second to import; commands that don't chat need not wait.
    from chatkit.server import StreamingResult
    from chatkit.store import NotFoundError
    from pydantic import ValidationError

    from .guards import guard
    from .limits import allowances_of, is_costly, spend
    from .models import owner_of
    from .protocol import only_streams, parse, process, with_zone
    from .server import get_server
    from .streaming import EventStreamResponse, NothingStreamed, OwnedStream

    body = _body(request)
    try:
        parsed = parse(body)
    except ValidationError as error:
        raise Refused(Fault.INVALID) from error
    context.operation = parsed.type
    visit_of(request).come_in(context, getattr(parsed.params, "thread_id", ""))
    server = get_server()
    try:
        # What streams takes its tokens together with its seat, before any of the server's work.
        is_taken_later = only_streams(server, parsed)
        if is_costly(parsed) and not is_taken_later:
            await spend(request, context)
        await guard(parsed, server, context)
        result = await process(server, parsed, body, context)
        if not isinstance(result, StreamingResult):
            return HttpResponse(with_zone(result.json), content_type="application/json")
        allowances = allowances_of(request, **owner_of(context)) if is_taken_later else ()
        stream = OwnedStream(result, context, allowances)
        await stream.begin()
        return EventStreamResponse(stream)
    except Refused:
        raise
    except (NotFoundError, NothingStreamed) as error:
        raise Refused(Fault.NOT_FOUND) from error
    except NotImplementedError as error:
        raise Refused(Fault.UNSUPPORTED) from error
    except ValidationError as error:
        # Not the request, which was valid: something that is stored.
        return _server_error(context, error)
    except (DataError, ValueError) as error:
        # What no text of PostgreSQL may hold, NUL; the SDK's word for what does not fit its thread.
        raise Refused(Fault.INVALID) from error
    except Exception as error:
        return _server_error(context, error)


def _server_error(context: RequestContext, error: Exception) -> HttpResponse:
    # The text of an exception may quote a visitor: observability.logs leaves it out.
    logger.error("%s failed: %s", context.operation, type(error).__name__, exc_info=error)
    return Fault.SERVER.response()

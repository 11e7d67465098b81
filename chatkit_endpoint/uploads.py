"""Files over HTTP: uploads from their owner, downloads to their owner, and nobody else.

What is missing, unfinished or somebody else's gets one and the same answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from asgiref.sync import sync_to_async
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.db import connections
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils import translation
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from .access_log import tells_access, visit_of
from .authentication import context_of
from .body_limit import takes_body
from .conf import conf
from .context import RequestContext
from .errors import Fault, Refused
from .files import IMAGE_TYPES
from .limits import allowances_of, take
from .locales import locale_of

if TYPE_CHECKING:
    from chatkit.types import Attachment as ChatKitAttachment
    from django.core.files.uploadedfile import UploadedFile

    from .models import Attachment

logger = logging.getLogger(__name__)

FIELD = "file"
"""The part of the form that a ChatKit client puts the file in."""

FORM_BYTES = 65_536
"""What a form may hold besides the file."""

# Types that no browser runs anything of. What else a site allows is downloaded as mere bytes.
_NAMED_TYPES = IMAGE_TYPES | {"application/pdf", "text/plain"}

P = ParamSpec("P")


class QuotaHandler(FileUploadHandler):
    """Stops reading a form whose files are larger than allowed, in sum."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._left = limit
        self.exceeded = False

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        self._left -= len(raw_data)
        if self._left < 0:
            self.exceeded = True
            raise StopUpload(connection_reset=True)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the handlers that keep it."""


def _form_bytes() -> int:
    return conf().chatkit_attachment_max_bytes + FORM_BYTES


def _owned(*methods: str) -> Callable[..., Any]:
    """A view for the owner of what it is about: blocking code, on the request's own thread.

    Not on one of the database's few threads, since a storage may be slow. Errors are JSON,
    ``{"error": {"code", "message"}}``, in the visitor's language.
    """

    def decorate(
        answer: Callable[Concatenate[HttpRequest, RequestContext, P], HttpResponse],
    ) -> Callable[..., Any]:
        # Not exempt at all: checked with the session, after the quota is on.
        @csrf_exempt
        @takes_body(_form_bytes, Fault.FILE_TOO_LARGE)
        @tells_access
        @wraps(answer)
        async def view(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            with translation.override(locale_of(request)):
                if request.method not in methods:
                    return _wrong_method(methods)
                try:
                    quota = _quota_on(request)
                    context = await context_of(request)
                    if quota is not None and quota.exceeded:
                        raise _too_large()
                    context.operation = f"attachments.{answer.__name__}"
                    visit_of(request).come_in(context)
                    return await sync_to_async(_run)(answer, request, context, *args, **kwargs)
                except Refused as refusal:
                    return refusal.response()
                except RequestDataTooBig:
                    return Fault.BODY_TOO_LARGE.response()
                except (MultiPartParserError, SuspiciousOperation, UnreadablePostError):
                    return Fault.INVALID.response()

        return view

    return decorate


def _run(answer: Callable[..., HttpResponse], *args: Any, **kwargs: Any) -> HttpResponse:
    # Late: the SDK takes more than a second to import; commands that don't chat need not wait.
    from chatkit.store import NotFoundError

    try:
        return answer(*args, **kwargs)
    except NotFoundError as error:
        raise Refused(Fault.NOT_FOUND) from error
    except (Refused, MultiPartParserError, SuspiciousOperation, UnreadablePostError):
        raise
    except Exception as error:
        # Storages raise what they like, and its text may quote a name.
        logger.error("A file was not handled: %s", type(error).__name__, exc_info=error)
        return Fault.SERVER.response()
    finally:
        connections.close_all()


@_owned("POST")
def create(request: HttpRequest, context: RequestContext) -> HttpResponse:
    """Direct upload: a form with a ``file`` becomes an attachment, answered as ChatKit's JSON."""
    from .attachments import create_with_bytes

    _count(request, context)
    file = _file_of(request)
    return _json(create_with_bytes(file.name or "", file.content_type or "", file.read(), context))


@_owned("POST")
def upload(request: HttpRequest, context: RequestContext, key: str) -> HttpResponse:
    """The second phase of an upload: the bytes of what ``attachments.create`` announced."""
    from .attachments import receive

    _count(request, context)
    return _json(receive(key, _file_of(request).read(), context))


@_owned("GET", "HEAD")
def download(request: HttpRequest, context: RequestContext, key: str) -> HttpResponse:
    """The file: shown by the browser where it is an image, else to be saved."""
    from .attachments import find

    row = find(key, context)
    return _file(row, as_attachment=row.mime_type not in IMAGE_TYPES)


@_owned("GET", "HEAD")
def preview(request: HttpRequest, context: RequestContext, key: str) -> HttpResponse:
    """The image, for ChatKit's ``preview_url``. Other files have none."""
    from .attachments import find

    row = find(key, context)
    if row.mime_type not in IMAGE_TYPES:
        raise Refused(Fault.NOT_FOUND)
    return _file(row, as_attachment=False)


def _count(request: HttpRequest, context: RequestContext) -> None:
    """Count an upload against its owner and its address. Raises Refused where it is too many."""
    owner = {"tenant": context.tenant, "owner_key": context.owner_key}
    take(allowances_of(request, kind="upload", **owner))


def _quota_on(request: HttpRequest) -> QuotaHandler | None:
    """Limit the form before anything reads it: the check against forgery does so first."""
    if request.method != "POST":
        return None
    if request.content_type != "multipart/form-data":
        raise Refused(Fault.INVALID)
    quota = QuotaHandler(conf().chatkit_attachment_max_bytes)
    request.upload_handlers.insert(0, quota)
    return quota


def _file_of(request: HttpRequest) -> UploadedFile[Any]:
    files = request.FILES
    for handler in request.upload_handlers:
        if isinstance(handler, QuotaHandler) and handler.exceeded:
            raise _too_large()
    if list(files) != [FIELD] or len(files.getlist(FIELD)) != 1:
        raise Refused(Fault.INVALID)
    return files.getlist(FIELD)[0]


def _too_large() -> Refused:
    from .attachments import too_large

    return too_large()


def _json(attachment: ChatKitAttachment) -> HttpResponse:
    content = attachment.model_dump_json(context={"exclude_metadata": True}, exclude_none=True)
    return HttpResponse(content, content_type="application/json")


def _file(row: Attachment, *, as_attachment: bool) -> HttpResponse:
    from .attachments import read

    mime_type = row.mime_type if row.mime_type in _NAMED_TYPES else "application/octet-stream"
    if mime_type == "text/plain":
        mime_type = "text/plain; charset=utf-8"
    # Whole in memory: it is no larger than the settings allow, and the model gets it so too.
    content = read(row)
    return HttpResponse(
        content,
        headers={
            "Cache-Control": "private, no-store",
            "Content-Disposition": content_disposition_header(as_attachment, row.name) or "",
            "Content-Length": str(len(content)),
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Content-Type": mime_type,
            "X-Content-Type-Options": "nosniff",
        },
    )


def _wrong_method(methods: tuple[str, ...]) -> HttpResponse:
    message = _("This address answers %(methods)s only.") % {"methods": ", ".join(methods)}
    response = Fault.METHOD.response(message)
    response.headers["Allow"] = ", ".join(methods)
    return response

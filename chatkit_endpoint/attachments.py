"""Attachments: their bytes, and who may have them.

A file comes in one step or in two. In two, ``attachments.create`` makes a row without bytes and
tells the client where to send them. The row holds the name of the bytes before the storage has
them, so that whatever happens in between leaves nothing that the sweeper can't find. Until its
bytes stand complete an attachment has an upload descriptor; it can be neither sent nor downloaded.

The functions without ``async`` block: they belong on a thread.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

from chatkit.store import AttachmentStore, NotFoundError, Store
from chatkit.types import Attachment as ChatKitAttachment
from chatkit.types import (
    AttachmentCreateParams,
    AttachmentUploadDescriptor,
    FileAttachment,
    ImageAttachment,
    ThreadItem,
    UserMessageItem,
)
from django.core.files.base import ContentFile
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from openai.types.responses import (
    ResponseInputContentParam,
    ResponseInputFileParam,
    ResponseInputImageParam,
    ResponseInputTextParam,
)
from pydantic import AnyUrl, TypeAdapter

from observability.database import run_in_database
from observability.holds import on_held_thread

from .conf import conf
from .context import RequestContext
from .errors import Fault, Refused
from .files import IMAGE_TYPES, canonical_type, is_of_type, new_place, safe_name, storage
from .models import Attachment
from .store import full_length_id

logger = logging.getLogger(__name__)

UNSENT_WINDOW = timedelta(hours=1)
"""Files that were uploaded since then and not sent count against CHATKIT_ATTACHMENT_MAX_COUNT.

Older ones don't: whoever closes the page with files in the composer is not locked out.
"""
MODEL_BYTES = 50_000_000
"""How much of a thread's files one request to the model carries, the newest ones first."""

_adapter: TypeAdapter[ChatKitAttachment] = TypeAdapter(ChatKitAttachment)


class DjangoAttachmentStore(AttachmentStore[RequestContext]):
    """Keeps the bytes of attachments in a storage of Django's, each for its owner alone.

    Raises :class:`chatkit.store.NotFoundError` for what is missing or somebody else's, and
    :class:`.errors.Refused` for a file that the settings don't allow.
    """

    def generate_attachment_id(self, mime_type: str, context: RequestContext) -> str:
        return full_length_id("attachment")

    async def create_attachment(
        self, input: AttachmentCreateParams, context: RequestContext
    ) -> ChatKitAttachment:
        return await run_in_database(create, input.name, input.mime_type, input.size, context)

    async def delete_attachment(self, attachment_id: str, context: RequestContext) -> None:
        await run_in_database(delete_bytes, attachment_id, context)


# -- in ---------------------------------------------------------------------------------------


def create(name: str, mime_type: str, size: int, context: RequestContext) -> ChatKitAttachment:
    """A new attachment that waits for its bytes. Raises Refused where the limits forbid it."""
    mime_type = canonical_type(mime_type)
    _check_size(size)
    if mime_type not in conf().chatkit_attachment_types:
        raise Refused(Fault.FILE_TYPE)
    key = full_length_id("attachment")
    attachment = _describe(key, safe_name(name, mime_type), mime_type, context)
    row = Attachment.objects.create(
        key=key,
        user_id=None if context.user is None else context.user.pk,
        tenant=context.tenant,
        owner_key=context.owner_key,
        name=attachment.name,
        mime_type=mime_type,
        payload=attachment.model_dump_json(),
    )
    # Counted when it is there: counted before, parallel requests would all find room.
    recent = timezone.now() - UNSENT_WINDOW
    waiting = Attachment.objects.owned_by(context).filter(thread=None, created_at__gt=recent)
    if waiting.count() > conf().chatkit_attachment_max_count:
        row.delete()
        raise Refused(Fault.TOO_MANY_FILES)
    return attachment


def receive(key: str, content: bytes, context: RequestContext) -> ChatKitAttachment:
    """Keep the bytes of an attachment that waits for them.

    Raises NotFoundError, or Refused for a file that is too large, that is not of the type that
    was announced, or whose bytes are there already or on their way.
    """
    row = _row(key, context)
    _check_size(len(content))
    if not is_of_type(content, row.mime_type):
        raise Refused(Fault.FILE_TYPE)
    place = new_place()
    rows = Attachment.objects.owned_by(context).filter(pk=row.pk)
    if not rows.filter(file="").update(file=place):
        raise Refused(Fault.ALREADY_UPLOADED)
    try:
        saved = storage().save(place, ContentFile(content))
    except Exception:
        # Only after a clean failure may the client try again.
        storage().delete(place)
        rows.filter(file=place).update(file="")
        raise
    done = _parsed(row).model_copy(
        update={"upload_descriptor": None, "metadata": {"size": len(content)}}
    )
    if not rows.filter(file=place).update(file=saved, payload=done.model_dump_json()):
        # Its owner deleted it meanwhile.
        storage().delete(saved)
        raise NotFoundError(f"Attachment {key} not found")
    return done


def create_with_bytes(
    name: str, mime_type: str, content: bytes, context: RequestContext
) -> ChatKitAttachment:
    """A new attachment with its bytes, in one step. Raises what the two steps raise."""
    attachment = create(name, mime_type, len(content), context)
    try:
        return receive(attachment.id, content, context)
    except Exception:
        # Nobody knows its id.
        Attachment.objects.owned_by(context).filter(key=attachment.id, file="").delete()
        raise


async def check_sendable(
    attachment_ids: Iterable[str],
    thread_id: str | None,
    store: Store[RequestContext],
    context: RequestContext,
) -> None:
    """Whether a message to this thread, None for a new one, may carry these attachments.

    Raises NotFoundError for what is missing or somebody else's, and Refused for too many, for one
    whose bytes are not there yet, and for one of another thread: its file goes with that one.
    """
    wanted = list(attachment_ids)
    if len(wanted) > conf().chatkit_attachment_max_count:
        raise Refused(Fault.TOO_MANY_FILES)
    if len(set(wanted)) < len(wanted):
        raise Refused(Fault.INVALID)
    for attachment_id in wanted:
        attachment = await store.load_attachment(attachment_id, context)
        if attachment.upload_descriptor is not None:
            raise Refused(Fault.INVALID, _("A file is not uploaded yet."))
        if attachment.thread_id not in (None, thread_id):
            raise Refused(Fault.INVALID)


# -- out --------------------------------------------------------------------------------------


def find(key: str, context: RequestContext) -> Attachment:
    """An attachment whose bytes are complete. Raises NotFoundError."""
    row = _row(key, context)
    if not row.file.name or _parsed(row).upload_descriptor is not None:
        raise NotFoundError(f"Attachment {key} not found")
    return row


def read(row: Attachment) -> bytes:
    """The bytes of an attachment. Raises NotFoundError where they are gone."""
    try:
        with storage().open(str(row.file.name)) as file:
            return bytes(file.read())
    except FileNotFoundError as error:
        logger.warning("The file of attachment %s is gone.", row.key)
        raise NotFoundError(f"Attachment {row.key} not found") from error


def delete_bytes(key: str, context: RequestContext) -> None:
    """Delete the bytes; the row goes with ``Store.delete_attachment``. Raises NotFoundError, and
    Refused where it has to be kept.
    """
    row = _row(key, context)
    if Attachment.objects.filter(on_held_thread("thread__key"), pk=row.pk).exists():
        raise Refused(Fault.HELD)
    if row.file.name:
        with suppress(FileNotFoundError):
            storage().delete(row.file.name)


# -- to the model -----------------------------------------------------------------------------


def newest_that_fit(items: Sequence[ThreadItem]) -> set[str]:
    """The ids of the attachments of these items, oldest first, that the model gets."""
    left = MODEL_BYTES
    fitting: set[str] = set()
    for item in reversed(items):
        for attachment in item.attachments if isinstance(item, UserMessageItem) else ():
            left -= (attachment.metadata or {}).get("size", 0)
            if left < 0:
                return fitting
            fitting.add(attachment.id)
    return fitting


async def as_model_input(
    attachment: ChatKitAttachment, context: RequestContext
) -> ResponseInputContentParam:
    """An attachment as content of the user's message; a note where its bytes are gone."""
    try:
        row = await run_in_database(find, attachment.id, context)
        # Not on a database thread: a slow storage would hold up the writes of other turns.
        content = await asyncio.to_thread(read, row)
    except NotFoundError:
        return left_out(attachment)
    data_url = f"data:{row.mime_type};base64,{base64.b64encode(content).decode()}"
    if row.mime_type in IMAGE_TYPES:
        return ResponseInputImageParam(type="input_image", detail="auto", image_url=data_url)
    return ResponseInputFileParam(type="input_file", filename=row.name, file_data=data_url)


def left_out(attachment: ChatKitAttachment) -> ResponseInputContentParam:
    """What the model is told of a file that it does not get."""
    return ResponseInputTextParam(
        type="input_text", text=f"[A file that is not available: {attachment.name}]"
    )


def _check_size(size: int) -> None:
    limit = conf().chatkit_attachment_max_bytes
    if size > limit:
        raise too_large()
    if size < 1:
        raise Refused(Fault.INVALID, _("The file is empty."))


def too_large() -> Refused:
    """The refusal of a file that is larger than allowed, with the limit."""
    limit = filesizeformat(conf().chatkit_attachment_max_bytes)
    message = _("The file is too large: %(limit)s at most.") % {"limit": limit}
    return Refused(Fault.FILE_TOO_LARGE, message)


def _describe(key: str, name: str, mime_type: str, context: RequestContext) -> ChatKitAttachment:
    values: dict[str, Any] = {
        "id": key,
        "name": name,
        "mime_type": mime_type,
        "upload_descriptor": AttachmentUploadDescriptor(
            url=_url("chatkit-attachment-upload", key, context), method="POST"
        ),
    }
    if mime_type in IMAGE_TYPES:
        preview = _url("chatkit-attachment-preview", key, context)
        return ImageAttachment(preview_url=preview, **values)
    return FileAttachment(**values)


def _url(name: str, key: str, context: RequestContext) -> AnyUrl:
    return AnyUrl(urljoin(context.base_url, reverse(name, args=(key,))))


def _row(key: str, context: RequestContext) -> Attachment:
    row = Attachment.objects.owned_by(context).filter(key=key).first()
    if row is None:
        raise NotFoundError(f"Attachment {key} not found")
    return row


def _parsed(row: Attachment) -> ChatKitAttachment:
    return _adapter.validate_json(row.payload)

"""ChatKit's ``Store`` over Django's models.

Every method is one unit of work on a database thread, and every way in goes through
``owned_by``: what belongs to somebody else is answered exactly like what does not exist.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from chatkit.store import NotFoundError, Store, StoreItemType, default_generate_id
from chatkit.types import Attachment as ChatKitAttachment
from chatkit.types import (
    ClientToolCallItem,
    Page,
    SDKHiddenContextItem,
    ThreadItem,
    ThreadMetadata,
)
from django.db import models, transaction
from django.db.models.constants import OnConflict
from django.utils import timezone
from pydantic import TypeAdapter

from observability.database import forgettable_transaction, run_in_database, storable
from observability.identifiers import new_id
from observability.prepared import Insert, InsertSelect, Param, Select, Update, run_together
from observability.span_log import Kind

from . import retention
from .context import RequestContext
from .errors import Fault, Refused
from .models import OWNER, Attachment, Thread, owner_of
from .models import ThreadItem as ThreadItemRow
from .thread_status import keep_operators, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_PAGE_SIZE = 100
FAKE_ITEM_ID = "__fake_id__"
"""What the Agents SDK calls every message of a chat-completions model."""

_item_adapter: TypeAdapter[ThreadItem] = TypeAdapter(ThreadItem)
_attachment_adapter: TypeAdapter[ChatKitAttachment] = TypeAdapter(ChatKitAttachment)

_KEY = Param("key", models.CharField())
_THREAD_KEY = Param("thread_key", models.CharField())
_NOW = Param("now", models.DateTimeField())
_CURSOR = Param("cursor", models.BigAutoField())
_threads = Thread.objects.owned_by(OWNER)
_this_thread = models.Subquery(
    Thread.objects.owned_by(OWNER).filter(key=_THREAD_KEY).order_by().values("pk")[:1]
)
# Not a join: for one page PostgreSQL would read the whole thread and sort it.
_items = ThreadItemRow.objects.filter(thread=_this_thread)
_newest_item = Select(_items.order_by("-pk").values_list("type", "payload")[:1])
_item_payload = Select(
    ThreadItemRow.objects.owned_by(OWNER)
    .filter(thread__key=_THREAD_KEY, key=_KEY)
    .values_list("payload")
)
_attachment_payload = Select(
    Attachment.objects.owned_by(OWNER).filter(key=_KEY).values_list("payload")
)
_thread_payload = Select(Thread.objects.owned_by(OWNER).filter(key=_KEY).values_list("payload"))
_locked_thread_payload = Select(
    Thread.objects.owned_by(OWNER).filter(key=_KEY).select_for_update().values_list("payload")
)
_add_thread = Insert(Thread, on_conflict=OnConflict.IGNORE)
_change_thread = Update(
    Thread.objects.owned_by(OWNER).filter(key=_KEY),
    title=Param("title", Thread._meta.get_field("title")),
    payload=Param("payload", Thread._meta.get_field("payload")),
    status=Param("status", models.CharField()),
    updated_at=_NOW,
)
_touch_thread = Update(Thread.objects.owned_by(OWNER).filter(key=_THREAD_KEY), updated_at=_NOW)
_ITEM = ("key", "type", "payload", "created_at")
# Where there is no such thread, nothing is added, and no database has an error to write down.
_item_of_thread = (
    Thread.objects.owned_by(OWNER)
    .filter(key=_THREAD_KEY)
    .order_by()
    .values_list("pk", *(Param(name, ThreadItemRow._meta.get_field(name)) for name in _ITEM))
)
_add_item = InsertSelect(
    ThreadItemRow, ("thread", *_ITEM), _item_of_thread, on_conflict=OnConflict.IGNORE
)
_put_item = InsertSelect(
    ThreadItemRow,
    ("thread", *_ITEM),
    _item_of_thread,
    on_conflict=OnConflict.UPDATE,
    unique_fields=("thread", "key"),
    update_fields=("type", "payload"),
)

P = ParamSpec("P")
T = TypeVar("T")


class DjangoStore(Store[RequestContext]):
    """Keeps conversations in the site's own database, each for its owner alone.

    Raises :class:`chatkit.store.NotFoundError` for what is missing or somebody else's, and
    :class:`.errors.Refused` where a thread on hold is to be deleted.
    """

    def generate_thread_id(self, context: RequestContext) -> str:
        return full_length_id("thread")

    def generate_item_id(
        self, item_type: StoreItemType, thread: ThreadMetadata, context: RequestContext
    ) -> str:
        return full_length_id(item_type)

    # -- threads ------------------------------------------------------------------------------

    async def load_thread(self, thread_id: str, context: RequestContext) -> ThreadMetadata:
        return await _unit_of_work(context, _load_thread, thread_id, context)

    async def save_thread(self, thread: ThreadMetadata, context: RequestContext) -> None:
        await _unit_of_work(context, _save_thread, thread, context)

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: RequestContext
    ) -> Page[ThreadMetadata]:
        return await _unit_of_work(context, _load_threads, limit, after, order, context)

    async def delete_thread(self, thread_id: str, context: RequestContext) -> None:
        await _unit_of_work(context, _delete_thread, thread_id, context)

    # -- items --------------------------------------------------------------------------------

    async def load_thread_items(
        self,
        thread_id: str,
        after: str | None,
        limit: int,
        order: str,
        context: RequestContext,
    ) -> Page[ThreadItem]:
        return await _unit_of_work(context, _load_items, thread_id, after, limit, order, context)

    async def add_thread_item(
        self, thread_id: str, item: ThreadItem, context: RequestContext
    ) -> None:
        await _unit_of_work(context, _save_item, thread_id, item, context, only_new=True)

    async def save_item(self, thread_id: str, item: ThreadItem, context: RequestContext) -> None:
        await _unit_of_work(context, _save_item, thread_id, item, context)

    async def load_item(self, thread_id: str, item_id: str, context: RequestContext) -> ThreadItem:
        return await _unit_of_work(context, _load_item, thread_id, item_id, context)

    async def delete_thread_item(
        self, thread_id: str, item_id: str, context: RequestContext
    ) -> None:
        await _unit_of_work(context, _delete_item, thread_id, item_id, context)

    # -- attachments --------------------------------------------------------------------------

    async def save_attachment(self, attachment: ChatKitAttachment, context: RequestContext) -> None:
        await _unit_of_work(context, _save_attachment, attachment, context)

    async def load_attachment(
        self, attachment_id: str, context: RequestContext
    ) -> ChatKitAttachment:
        return await _unit_of_work(context, _load_attachment, attachment_id, context)

    async def delete_attachment(self, attachment_id: str, context: RequestContext) -> None:
        await _unit_of_work(context, _delete_attachment, attachment_id, context)


async def _unit_of_work(
    context: RequestContext, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    with context.spans.step(Kind.STORE, work.__name__.lstrip("_")):
        return await run_in_database(work, *args, **kwargs)


def _transaction(context: RequestContext) -> AbstractContextManager[None]:
    """One that waits for PostgreSQL's disk unless a later one of this request will: those of a turn
    put on the disk all that was committed before them. Where none follows after all, PostgreSQL
    does within a second.
    """
    return forgettable_transaction() if context.has_turn_ahead else transaction.atomic()


def full_length_id(item_type: StoreItemType) -> str:
    """An id with the SDK's prefix and 32 digits: the SDK's own 8 collide."""
    return f"{_prefix(item_type)}_{new_id()}"


@cache
def _prefix(item_type: StoreItemType) -> str:
    return default_generate_id(item_type).partition("_")[0]


def _load_thread(thread_id: str, context: RequestContext) -> ThreadMetadata:
    found = _thread_payload.first(key=storable(thread_id), **owner_of(context))
    if found is None:
        raise NotFoundError(f"Thread {thread_id} not found")
    return ThreadMetadata.model_validate_json(found[0])


def _save_thread(thread: ThreadMetadata, context: RequestContext) -> None:
    # The SDK also hands over a Thread, whose items are not ours to store here.
    payload = thread.model_dump_json(exclude={"items"})
    title, now, owner = storable(thread.title or ""), timezone.now(), owner_of(context)
    row = Thread(
        key=thread.id,
        user_id=_user_id(context),
        title=title,
        payload=payload,
        status=status_of(payload)[0],
        created_at=_as_utc(thread.created_at),
        updated_at=now,
        **owner,
    )
    # Of one that is being made there is nothing to look for.
    is_made = context.operation == "threads.create" and context.turn is None
    if is_made and _add_thread_row(row, context):
        return
    with _transaction(context):
        kept = _locked_thread_payload.first(key=thread.id, **owner)
        if kept is not None:
            # A turn writes back the copy that it began with: what an operator said stands.
            payload = keep_operators(kept[0], payload)
            status = status_of(payload)[0]
            _change_thread.run(
                key=thread.id, title=title, payload=payload, status=status, now=now, **owner
            )
            return
        # One that is being answered was there: it was deleted meanwhile and must not come back.
        # And where it can't be added, it is somebody else's.
        is_answered = context.turn is not None and context.turn.thread_id == thread.id
        if is_answered or not _add_thread_row(row, context):
            raise NotFoundError(f"Thread {thread.id} not found")


def _add_thread_row(row: Thread, context: RequestContext) -> bool:
    """Returns whether there was none of that key, anybody's."""
    added = run_together(*_add_thread.ready([row]), is_forgettable=context.has_turn_ahead)
    return any(added)


def _load_threads(
    limit: int, after: str | None, order: str, context: RequestContext
) -> Page[ThreadMetadata]:
    page, has_more = _page(_threads, limit, after, order, owner_of(context))
    return Page(
        data=[ThreadMetadata.model_validate_json(payload) for _, payload in page],
        has_more=has_more,
        after=page[-1][0] if has_more else None,
    )


def _delete_thread(thread_id: str, context: RequestContext) -> None:
    row = _thread_row(thread_id, context)
    # Its owner wants it gone, files and traces too, and now.
    if retention.purge(Thread.objects.filter(pk=row.pk), even_running=True).held:
        raise Refused(Fault.HELD)


def _load_items(
    thread_id: str, after: str | None, limit: int, order: str, context: RequestContext
) -> Page[ThreadItem]:
    told = {"thread_key": storable(thread_id), **owner_of(context)}
    page, has_more = _page(_items, limit, after, order, told)
    return Page(
        data=[_item_adapter.validate_json(payload) for _, payload in page],
        has_more=has_more,
        after=page[-1][0] if has_more else None,
    )


def _save_item(
    thread_id: str, item: ThreadItem, context: RequestContext, *, only_new: bool = False
) -> None:
    """Keep an item. With ``only_new`` one that is there stays as it is: when a stream is cancelled
    while the finished item is added, the SDK adds it again as far as it had streamed.
    """
    if item.id == FAKE_ITEM_ID:
        # All messages of such a model bear it; under one id they would overwrite each other.
        item = item.model_copy(update={"id": full_length_id("message")})
    told = {"thread_key": storable(thread_id), **owner_of(context)}
    if isinstance(item, SDKHiddenContextItem) and _awaits_client_tool(told):
        # The note that the stream was cancelled. The SDK takes a tool's output only while
        # the call is the newest item: a reload in between would lose the call.
        return
    # The thread first: until this is over nobody deletes it.
    touch = _touch_thread.ready(now=timezone.now(), **told)
    put = (_add_item if only_new else _put_item).ready(
        key=item.id,
        type=item.type,
        payload=item.model_dump_json(),
        created_at=_as_utc(item.created_at),
        **told,
    )
    touched, _ = run_together(touch, put, is_forgettable=context.has_turn_ahead)
    if not touched:
        raise NotFoundError(f"Thread {thread_id} not found")


def _awaits_client_tool(told: dict[str, Any]) -> bool:
    newest = _newest_item.first(**told)
    if newest is None or newest[0] != "client_tool_call":
        return False
    return ClientToolCallItem.model_validate_json(newest[1]).status == "pending"


def item_of(row: ThreadItemRow) -> ThreadItem:
    """The item that a row keeps. Raises pydantic's ValidationError for what the SDK can't read."""
    return _item_adapter.validate_json(row.payload)


def _load_item(thread_id: str, item_id: str, context: RequestContext) -> ThreadItem:
    found = _item_payload.first(
        thread_key=storable(thread_id), key=storable(item_id), **owner_of(context)
    )
    if found is None:
        raise NotFoundError(f"Item {item_id} not found in thread {thread_id}")
    return _item_adapter.validate_json(found[0])


def _delete_item(thread_id: str, item_id: str, context: RequestContext) -> None:
    _item_rows(thread_id, item_id, context).delete()


def _save_attachment(attachment: ChatKitAttachment, context: RequestContext) -> None:
    values: dict[str, Any] = {
        "name": storable(attachment.name),
        "mime_type": attachment.mime_type,
        "payload": attachment.model_dump_json(),
    }
    if attachment.thread_id is not None:
        values["thread"] = _thread_row(attachment.thread_id, context)
    with transaction.atomic():
        if Attachment.objects.owned_by(context).filter(key=attachment.id).update(**values):
            return
        if Attachment.objects.filter(key=attachment.id).exists():
            raise NotFoundError(f"Attachment {attachment.id} not found")
        Attachment.objects.create(
            key=attachment.id,
            user_id=_user_id(context),
            tenant=context.tenant,
            owner_key=context.owner_key,
            **values,
        )


def _load_attachment(attachment_id: str, context: RequestContext) -> ChatKitAttachment:
    found = _attachment_payload.first(key=storable(attachment_id), **owner_of(context))
    if found is None:
        raise NotFoundError(f"Attachment {attachment_id} not found")
    return _attachment_adapter.validate_json(found[0])


def _delete_attachment(attachment_id: str, context: RequestContext) -> None:
    # Silently where there is none: an attachment store may have deleted the row with the bytes.
    retention.purge_attachments(
        Attachment.objects.owned_by(context).filter(key=storable(attachment_id))
    )


def _thread_row(thread_id: str, context: RequestContext) -> Thread:
    row = Thread.objects.owned_by(context).filter(key=storable(thread_id)).first()
    if row is None:
        raise NotFoundError(f"Thread {thread_id} not found")
    return row


def _item_rows(
    thread_id: str, item_id: str, context: RequestContext
) -> models.QuerySet[ThreadItemRow]:
    return ThreadItemRow.objects.owned_by(context).filter(
        thread__key=storable(thread_id), key=storable(item_id)
    )


def _page(
    rows: models.QuerySet[Any], limit: int, after: str | None, order: str, told: dict[str, Any]
) -> tuple[Sequence[tuple[Any, ...]], bool]:
    """Keys and payloads of at most ``limit`` (clamped) rows behind the cursor, and whether more
    follow. ``told`` is what ``rows`` are worded over.

    Raises NotFoundError for a cursor that is not there: an empty page would look like the end.
    """
    limit = max(1, min(limit, MAX_PAGE_SIZE))
    if after is not None:
        cursor = _cursor(rows).first(key=storable(after), **told)
        if cursor is None:
            raise NotFoundError(f"Cursor {after} not found")
        told = {**told, "cursor": cursor[0]}
    wanted = _slice(rows, limit + 1, is_ascending=order == "asc", is_behind=after is not None)
    page = wanted.rows(**told)
    return page[:limit], len(page) > limit


@cache
def _cursor(rows: models.QuerySet[Any]) -> Select:
    return Select(rows.filter(key=_KEY).values_list("pk"))


@cache
def _slice(
    rows: models.QuerySet[Any], limit: int, *, is_ascending: bool, is_behind: bool
) -> Select:
    if is_behind:
        rows = rows.filter(pk__gt=_CURSOR) if is_ascending else rows.filter(pk__lt=_CURSOR)
    rows = rows.order_by("pk" if is_ascending else "-pk")
    return Select(rows.values_list("key", "payload")[:limit])


def _user_id(context: RequestContext) -> int | str | None:
    return None if context.user is None else context.user.pk


def _as_utc(moment: datetime) -> datetime:
    """The SDK's times are naive local time, and the process runs in settings.TIME_ZONE."""
    if timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment, timezone.get_default_timezone())

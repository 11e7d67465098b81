"""A part of ``benchmarks.store``: conversations of a size, and a call of each method of the store.

For a process in which Django is set up.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    FileAttachment,
    ThreadItem,
    ThreadMetadata,
)
from django.contrib.auth.models import User
from django.utils import timezone

from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.models import Attachment, Thread
from chatkit_endpoint.models import ThreadItem as ThreadItemRow
from chatkit_endpoint.store import DjangoStore

from .store_replay import Operation

THREADS_PAGE = 20
"""What ChatKit's client asks for."""
ITEMS_PAGE = 50
WORDS = "The order of last week comes to forty euros, and it is on its way to you. " * 3


@dataclass(frozen=True, kw_only=True)
class Call:
    """One way to use a method."""

    name: str
    make: Callable[[str], Operation]
    """The call for one operation, not made yet. What it adds or deletes has this key."""
    before: Callable[[Sequence[str]], object] = list
    """Makes what the operations with these keys need."""


class Conversations:
    """An owner with so many threads of one item; but the middle one has as many items, and as many
    attachments.
    """

    def __init__(self, size: int) -> None:
        self._user = User.objects.create(username=f"owner-of-{size}")
        now = timezone.now()
        mine: dict[str, Any] = {"user": self._user, "owner_key": f"user:{self._user.pk}"}
        threads = [self._thread(new_key()) for _ in range(size)]
        rows = Thread.objects.bulk_create(
            Thread(
                key=each.id,
                title=each.title or "",
                payload=each.model_dump_json(),
                created_at=now,
                updated_at=now,
                **mine,
            )
            for each in threads
        )
        self._thread_row, self._own_thread = rows[size // 2], threads[size // 2]
        keys = [new_key() for _ in range(size)]
        _add_items((row, self._item(new_key())) for row in rows if row != self._thread_row)
        self.add_items(keys)
        self._item_key = keys[size // 2]
        attachments = [self._attachment(new_key()) for _ in range(size)]
        self._own_attachment = attachments[size // 2]
        Attachment.objects.bulk_create(
            Attachment(
                key=each.id,
                name=each.name,
                mime_type=each.mime_type,
                payload=each.model_dump_json(),
                thread=self._thread_row,
                **mine,
            )
            for each in attachments
        )

    def add_items(self, keys: Sequence[str]) -> None:
        """Items of the middle thread, besides those that it has."""
        _add_items((self._thread_row, self._item(key)) for key in keys)

    def calls(self) -> list[Call]:
        """Of every method but those that purge."""
        store, context = DjangoStore(), self._context
        thread, attachment = self._own_thread, self._own_attachment
        sent = attachment.model_copy(update={"thread_id": thread.id})
        return [
            Call(
                name="load_thread",
                make=lambda _: partial(store.load_thread, thread.id, context()),
            ),
            Call(
                name="save_thread, new",
                make=lambda key: partial(store.save_thread, self._thread(key), context()),
            ),
            Call(
                name="save_thread, change",
                make=lambda _: partial(store.save_thread, thread, context()),
            ),
            Call(
                name="load_threads",
                make=lambda _: partial(store.load_threads, THREADS_PAGE, None, "desc", context()),
            ),
            Call(
                name="load_thread_items",
                make=lambda _: partial(
                    store.load_thread_items, thread.id, None, ITEMS_PAGE, "desc", context()
                ),
            ),
            Call(
                name="add_thread_item",
                make=lambda key: partial(
                    store.add_thread_item, thread.id, self._item(key), context()
                ),
            ),
            Call(
                name="save_item",
                make=lambda _: partial(
                    store.save_item, thread.id, self._item(self._item_key), context()
                ),
            ),
            Call(
                name="load_item",
                make=lambda _: partial(store.load_item, thread.id, self._item_key, context()),
            ),
            Call(
                name="delete_thread_item",
                make=lambda key: partial(store.delete_thread_item, thread.id, key, context()),
                before=self.add_items,
            ),
            Call(
                name="save_attachment, new",
                make=lambda key: partial(store.save_attachment, self._attachment(key), context()),
            ),
            Call(
                name="save_attachment, sent",
                make=lambda _: partial(store.save_attachment, sent, context()),
            ),
            Call(
                name="load_attachment",
                make=lambda _: partial(store.load_attachment, attachment.id, context()),
            ),
        ]

    def _context(self) -> RequestContext:
        return RequestContext(user=self._user, owner_key=f"user:{self._user.pk}")

    def _thread(self, key: str) -> ThreadMetadata:
        return ThreadMetadata(id=key, created_at=_now(), title="What does the order cost?")

    def _item(self, key: str) -> ThreadItem:
        return AssistantMessageItem(
            id=key,
            thread_id=self._own_thread.id,
            created_at=_now(),
            content=[AssistantMessageContent(text=WORDS)],
        )

    def _attachment(self, key: str) -> FileAttachment:
        return FileAttachment(id=key, name="order.pdf", mime_type="application/pdf")


def _add_items(items: Iterable[tuple[Thread, ThreadItem]]) -> None:
    ThreadItemRow.objects.bulk_create(
        ThreadItemRow(
            thread=thread,
            key=each.id,
            type=each.type,
            payload=each.model_dump_json(),
            created_at=timezone.now(),
        )
        for thread, each in items
    )


def new_key() -> str:
    """An id as long as the store's own."""
    return f"key_{uuid.uuid4().hex}"


def rows_with(keys: Sequence[str]) -> int:
    """How many there are of all kinds."""
    return sum(model.objects.filter(key__in=keys).count() for model in _models())


def delete_rows_with(keys: Sequence[str]) -> None:
    for model in _models():
        model.objects.filter(key__in=keys).delete()


def _models() -> Sequence[type[Thread] | type[ThreadItemRow] | type[Attachment]]:
    return (Thread, ThreadItemRow, Attachment)


def _now() -> datetime:
    return datetime.now()  # noqa: DTZ005 (As the SDK itself has it.)

"""Small objects of the ChatKit SDK, and a look at the rows that they become."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    FileAttachment,
    ThreadItem,
    ThreadMetadata,
)
from django.db import models

from observability.database import run_in_database

NAIVE = datetime(2026, 10, 25, 2, 30, 0, 123456)  # noqa: DTZ001 (as the SDK makes them)
AWARE = datetime(2026, 10, 25, 2, 30, tzinfo=UTC)

RowT = TypeVar("RowT", bound=models.Model)


async def rows(model: type[RowT]) -> list[RowT]:
    """All rows of a table, the oldest first."""
    return await run_in_database(lambda: list(model._default_manager.order_by("pk")))


def a_thread(thread_id: str = "thr_1", **fields: Any) -> ThreadMetadata:
    return ThreadMetadata(**{"id": thread_id, "created_at": NAIVE, **fields})


def a_message(
    item_id: str = "msg_1", text: str = "Hello", thread_id: str = "thr_1"
) -> AssistantMessageItem:
    return AssistantMessageItem(
        id=item_id,
        thread_id=thread_id,
        created_at=NAIVE,
        content=[AssistantMessageContent(text=text)],
    )


def text_of(item: ThreadItem) -> str:
    assert isinstance(item, AssistantMessageItem)
    return item.content[0].text


def an_attachment(attachment_id: str = "atc_1", **fields: Any) -> FileAttachment:
    return FileAttachment(
        **{"id": attachment_id, "name": "a.txt", "mime_type": "text/plain", **fields}
    )

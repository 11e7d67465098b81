"""Whole conversations with a mark in every text that they reach, and a search for those marks."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile
from django.db import connection
from django.utils import timezone

from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.models import Attachment, Thread, ThreadItem
from chatkit_endpoint.owners import Owner, owner_key_of
from chatkit_endpoint.retention import PurgeSummary
from observability.models import Delivery, Message, Turn
from observability.search import WORDS

LONG_AGO = timezone.now() - timedelta(days=100)
A_MONTH_AGO = timezone.now() - timedelta(days=30)
ONE = PurgeSummary(threads=1, items=2, attachments=1, files=1, turns=1)
"""What goes with a conversation as :func:`plant` makes it."""


@dataclass(kw_only=True)
class Conversation:
    """What was planted, and the marks in its texts by the place of each."""

    thread: Thread
    turn: Turn
    attachment: Attachment
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return Path(self.attachment.file.path)


def context_of(user: Any, tenant: str = "") -> RequestContext:
    """The context of a signed-in user's request."""
    return RequestContext(user=user, owner_key=f"user:{user.pk}", tenant=tenant)


def owner_of(user: Any, tenant: str = "") -> Owner:
    return Owner(tenant, owner_key_of(user))


def plant(
    user: Any, *, written_at: datetime = LONG_AGO, running: bool = False, tenant: str = ""
) -> Conversation:
    """A thread of two items with an attachment and its file, and a turn still to be delivered."""
    marks: dict[str, str] = {}

    def mark(place: str) -> str:
        marks[place] = f"{place}-{uuid.uuid4().hex}"
        return marks[place]

    key = f"thr_{uuid.uuid4().hex}"
    owner = {"user": user, "tenant": tenant, "owner_key": f"user:{user.pk}"}
    thread = Thread.objects.create(
        key=key,
        title=mark("title"),
        payload=json.dumps({"id": key, "title": mark("thread-payload")}),
        created_at=written_at,
        updated_at=written_at,
        **owner,
    )
    for place in ("prompt-item", "answer-item"):
        ThreadItem.objects.create(
            thread=thread,
            key=f"msg_{uuid.uuid4().hex}",
            type="assistant_message",
            payload=json.dumps({"content": mark(place)}),
            created_at=written_at,
        )
    attachment = plant_attachment(user, marks, thread=thread, created_at=written_at, tenant=tenant)
    turn = plant_turn(user, marks, key, started_at=written_at, running=running, tenant=tenant)
    return Conversation(thread=thread, turn=turn, attachment=attachment, marks=marks)


def plant_attachment(
    user: Any,
    marks: dict[str, str],
    *,
    thread: Thread | None = None,
    created_at: datetime = LONG_AGO,
    tenant: str = "",
) -> Attachment:
    """An attachment with its file; without a thread, one that was never sent."""
    for place in ("name", "attachment-payload", "file-name", "bytes"):
        marks[place] = f"{place}-{uuid.uuid4().hex}"
    attachment = Attachment.objects.create(
        key=f"atc_{uuid.uuid4().hex}",
        thread=thread,
        user=user,
        tenant=tenant,
        owner_key=f"user:{user.pk}",
        name=marks["name"],
        mime_type="text/plain",
        file=ContentFile(marks["bytes"].encode(), name=f"{marks['file-name']}.txt"),
        payload=json.dumps({"name": marks["attachment-payload"]}),
    )
    Attachment.objects.filter(pk=attachment.pk).update(created_at=created_at)
    return attachment


def plant_turn(
    user: Any,
    marks: dict[str, str],
    thread_key: str,
    *,
    started_at: datetime = LONG_AGO,
    running: bool = False,
    tenant: str = "",
) -> Turn:
    """A turn with its messages and a delivery that has not been sent."""
    for place in ("prompt", "response", "error"):
        marks[f"turn-{place}"] = f"turn-{place}-{uuid.uuid4().hex}"
    ends = {"lease_expires_at": started_at} if running else {"ended_at": started_at}
    turn = Turn.objects.create(
        user=user,
        tenant=tenant,
        owner_key=f"user:{user.pk}",
        thread_id=thread_key,
        status=Turn.Status.RUNNING if running else Turn.Status.COMPLETED,
        prompt=marks["turn-prompt"],
        response=marks["turn-response"],
        error_message=marks["turn-error"],
        started_at=started_at,
        total_ms=1234,
        **ends,
    )
    for position, kind in enumerate(Message.Kind.values):
        marks[f"message-{kind}"] = f"message-{kind}-{uuid.uuid4().hex}"
        Message.objects.create(
            turn=turn,
            position=position,
            kind=kind,
            text=marks[f"message-{kind}"],
            created_at=started_at,
        )
    Delivery.objects.create(
        destination="anosys", event_id=turn.trace_id, kind=Delivery.Kind.TURN, turn=turn
    )
    return turn


def plant_many(user: Any, count: int, *, turns: int = 1) -> None:
    """Threads with keys ``thr_0`` and so on, of an item each, long ago, without marks or files."""
    owner = {"user": user, "owner_key": f"user:{user.pk}"}
    threads = Thread.objects.bulk_create(
        Thread(key=f"thr_{number}", payload="{}", created_at=LONG_AGO, updated_at=LONG_AGO, **owner)
        for number in range(count)
    )
    ThreadItem.objects.bulk_create(
        ThreadItem(thread=thread, key="msg_1", payload="{}", created_at=LONG_AGO)
        for thread in threads
    )
    Turn.objects.bulk_create(
        Turn(
            thread_id=thread.key,
            status=Turn.Status.COMPLETED,
            prompt="Hello",
            started_at=LONG_AGO,
            **owner,
        )
        for thread in threads
        for _ in range(turns)
    )


def found(marks: Iterable[str], media: Path) -> set[str]:
    """Which of these marks any column of any table, any file or any file's name still holds."""
    haystack = "\n".join([*_all_columns(), *_all_files(media)])
    return {mark for mark in marks if mark in haystack}


def is_whole(conversation: Conversation, media: Path) -> bool:
    return found(conversation.marks.values(), media) == set(conversation.marks.values())


def is_gone(conversation: Conversation, media: Path) -> bool:
    return not found(conversation.marks.values(), media)


def rows_of_all_tables() -> dict[str, set[tuple[Any, ...]]]:
    """Every row of every table, to tell whether anything changed. But for SQLite's index of words,
    whose rows are its own affair: they hold what other rows do.
    """
    rows = _all_rows()
    return {table: rows[table] for table in rows if not table.startswith(WORDS)}


def _all_rows() -> dict[str, set[tuple[Any, ...]]]:
    with connection.cursor() as cursor:
        tables = {}
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            tables[table] = {tuple(map(str, row)) for row in cursor.fetchall()}
        return tables


def _all_columns() -> Iterable[str]:
    for rows in _all_rows().values():
        for row in rows:
            yield from row


def _all_files(media: Path) -> Iterable[str]:
    for path in media.rglob("*"):
        yield str(path)
        if path.is_file():
            yield path.read_text(encoding="utf-8")

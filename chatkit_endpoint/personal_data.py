"""All that is held on somebody, as one ZIP archive: JSON Lines for programs, and their files.

It is made while it is sent, a batch of rows at a time: memory does not grow with what there is.
Names are those of the read API. Nothing here needs the ChatKit SDK.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import F, QuerySet
from django.template.loader import render_to_string
from django.utils import timezone

from observability.api.serializers import ClientEventSerializer, TurnDetailSerializer
from observability.models import ClientEvent, Delivery, EndpointRequest, Feedback, Turn

from .files import safe_name, storage
from .models import Attachment, Thread, ThreadItem
from .owners import Owner

logger = logging.getLogger(__name__)

BATCH = 50
"""How many rows are in memory at once: one may hold a picture that a model made."""
PIECE_BYTES = 256 * 1024
"""How much of the archive is handed on at a time, more or less, and read of a file at once."""

Row = dict[str, Any]


class Export:
    """The archive of what these owners have: iterate over it, once, for its bytes."""

    def __init__(self, owners: Sequence[Owner], name: str) -> None:
        """``name`` tells its readers whom it is about."""
        self.rows = 0
        """How many are in it so far."""
        self._owners = owners
        self._name = name
        self._lost: set[int] = set()

    @property
    def files_lost(self) -> int:
        """How many files were not there or could not be read; known when all is written."""
        return len(self._lost)

    def count(self) -> int:
        """How many rows it will hold."""
        return sum(kind.rows(owner).count() for kind in KINDS for owner in self._owners)

    def __iter__(self) -> Iterator[bytes]:
        pipe = _Pipe()
        with ZipFile(pipe, "w") as archive:
            self._write_readme(archive)
            # Before the rows, which say of each file whether it is in here.
            yield from self._write_files(archive, pipe)
            for kind in KINDS:
                yield from self._write_rows(kind, archive, pipe)
        yield pipe.taken()

    def _write_readme(self, archive: ZipFile) -> None:
        words = {"name": self._name, "made_at": timezone.now()}
        text = render_to_string("chatkit_endpoint/my_data_readme.txt", words)
        archive.writestr(_entry("README.txt"), text.encode(errors="replace"))

    def _write_files(self, archive: ZipFile, pipe: _Pipe) -> Iterator[bytes]:
        for owner in self._owners:
            for attachments in _batches(owner.own(Attachment.objects.exclude(file=""))):
                for attachment in attachments:
                    yield from self._write_file(attachment, archive, pipe)

    def _write_file(self, attachment: Attachment, archive: ZipFile, pipe: _Pipe) -> Iterator[bytes]:
        pieces = _pieces_of(attachment)
        with archive.open(_entry(_place(attachment)), "w", force_zip64=True) as entry:
            while True:
                try:
                    piece = next(pieces, b"")
                except Exception as error:
                    # Storages raise what they like, and its text may quote the name. The rest is
                    # not to be lost for one file.
                    kind = type(error).__name__
                    logger.error("Attachment %s was not exported: %s", attachment.key, kind)
                    self._lost.add(attachment.pk)
                    return
                if not piece:
                    return
                entry.write(piece)
                if pipe.is_full:
                    yield pipe.taken()

    def _write_rows(self, kind: Kind, archive: ZipFile, pipe: _Pipe) -> Iterator[bytes]:
        with archive.open(_entry(f"{kind.name}.jsonl"), "w", force_zip64=True) as entry:
            for owner in self._owners:
                for rows in _batches(kind.rows(owner)):
                    for row in rows:
                        entry.write(_json_line(self._described(kind, row)))
                        if pipe.is_full:
                            yield pipe.taken()
                    self.rows += len(rows)

    def _described(self, kind: Kind, row: Any) -> Row:
        described = kind.describe(row)
        if isinstance(row, Attachment):
            is_here = row.file.name and row.pk not in self._lost
            described["file"] = _place(row) if is_here else None
        return described


@dataclass(frozen=True)
class Kind:
    """One document of the archive: which rows of an owner are in it, and what is told of each."""

    name: str
    all_rows: Callable[[], QuerySet[Any]]
    describe: Callable[[Any], Row]

    def rows(self, owner: Owner) -> QuerySet[Any]:
        return owner.own(self.all_rows())


class _OfThreads(Kind):
    """Items: they belong to whom their thread belongs to."""

    def rows(self, owner: Owner) -> QuerySet[Any]:
        return self.all_rows().filter(thread__in=owner.own(Thread.objects.all()))


def _thread(thread: Thread) -> Row:
    return {
        "id": thread.key,
        "tenant": thread.tenant,
        "title": thread.title,
        "created_at": thread.created_at,
        "updated_at": thread.updated_at,
        "chatkit": _parsed(thread.payload),
    }


def _item(item: Any) -> Row:
    return {
        "id": item.key,
        "thread_id": item.thread_key,
        "type": item.type,
        "created_at": item.created_at,
        "chatkit": _parsed(item.payload),
    }


def _attachment(attachment: Any) -> Row:
    return {
        "id": attachment.key,
        "tenant": attachment.tenant,
        "thread_id": attachment.thread_key,
        "name": attachment.name,
        "mime_type": attachment.mime_type,
        "created_at": attachment.created_at,
        "chatkit": _parsed(attachment.payload),
    }


def _turn(turn: Turn) -> Row:
    described = dict(TurnDetailSerializer(turn, context={"may_view_content": True}).data)
    # They have a document of their own, which also knows those of no turn.
    described.pop("client_events", None)
    described["facts"] = [
        {
            "key": fact.key,
            "value": fact.value,
            "object_model": fact.object_model,
            "object_id": fact.object_id,
        }
        for fact in turn.facts.all()
    ]
    described["deliveries"] = [_delivery(delivery) for delivery in turn.deliveries.all()]
    return described


def _client_event(event: Any) -> Row:
    return {
        **ClientEventSerializer(event).data,
        "tenant": event.tenant,
        "session_id": event.session_id,
        "thread_id": event.thread_id,
        "trace_id": event.trace_id,
        "deliveries": [_delivery(delivery) for delivery in event.deliveries.all()],
    }


def _delivery(delivery: Delivery) -> Row:
    """Whom it was told, and whether it got there."""
    names = ("destination", "kind", "state", "created_at", "settled_at")
    return {name: getattr(delivery, name) for name in names}


def _feedback(feedback: Any) -> Row:
    names = ("tenant", "thread_id", "item_id", "kind", "first_kind", "created_at", "updated_at")
    return {name: getattr(feedback, name) for name in names} | {"trace_id": feedback.trace_id}


def _request(request: EndpointRequest) -> Row:
    return {
        each.attname: getattr(request, each.attname)
        for each in EndpointRequest._meta.concrete_fields
    }


KINDS = (
    Kind("threads", Thread.objects.all, _thread),
    _OfThreads("items", lambda: ThreadItem.objects.annotate(thread_key=F("thread__key")), _item),
    Kind(
        "attachments", lambda: Attachment.objects.annotate(thread_key=F("thread__key")), _attachment
    ),
    Kind(
        "turns",
        lambda: Turn.objects.select_related("superseded_by", "span_row").prefetch_related(
            "messages", "client_events", "facts", "deliveries"
        ),
        _turn,
    ),
    Kind(
        "client_events",
        lambda: ClientEvent.objects.annotate(trace_id=F("turn__trace_id")).prefetch_related(
            "deliveries"
        ),
        _client_event,
    ),
    Kind("feedback", lambda: Feedback.objects.annotate(trace_id=F("turn__trace_id")), _feedback),
    Kind("requests", EndpointRequest.objects.all, _request),
)
"""The documents of an archive, in their order."""


class _Pipe:
    """What the archive is written into, and taken from: it only ever holds what is in between."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, content: bytes, /) -> int:
        self._held += content
        return len(content)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """What was written can still be taken."""

    @property
    def is_full(self) -> bool:
        return len(self._held) >= PIECE_BYTES

    def taken(self) -> bytes:
        """What was written since the last time."""
        content = bytes(self._held)
        self._held.clear()
        return content


def _entry(name: str) -> ZipInfo:
    """An entry that is dated, compressed and readable by its owner alone once it is unpacked."""
    entry = ZipInfo(name, timezone.now().timetuple()[:6])
    entry.compress_type = ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    return entry


def _place(attachment: Attachment) -> str:
    """Where an attachment's file is in the archive. The number keeps equal names apart."""
    return f"files/{attachment.pk}-{safe_name(attachment.name, attachment.mime_type)}"


def _pieces_of(attachment: Attachment) -> Iterator[bytes]:
    with storage().open(str(attachment.file.name)) as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _batches(rows: QuerySet[Any]) -> Iterator[list[Any]]:
    # By key and not by a cursor, which could not outlive the connection of one piece.
    rows = rows.order_by("pk")
    batch = list(rows[:BATCH])
    while batch:
        yield batch
        batch = list(rows.filter(pk__gt=batch[-1].pk)[:BATCH])


def _parsed(payload: str) -> Any:
    """ChatKit's own JSON; as text where it is none."""
    try:
        return json.loads(payload)
    except ValueError:
        return payload


def _json_line(row: Row) -> bytes:
    text = json.dumps(row, cls=DjangoJSONEncoder, ensure_ascii=False)
    # Halves of surrogate pairs, which JSON may name, can't be written.
    return f"{text}\n".encode(errors="replace")

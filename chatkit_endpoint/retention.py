"""What goes when its time is over: conversations, their files, and the text of their turns.

A purge works in batches, a transaction each, and can be interrupted at any point: what is done is
done, what was under way is rolled back, and the next purge goes on. The bytes of attachments can't
be rolled back. So they go after the commit of their batch, from attachments that are in no thread
any more, and a row goes after its bytes: a file whose row is gone could never be found again.

Nothing here needs the ChatKit SDK, so commands that purge start fast.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from observability.holds import on_held_thread
from observability.models import Hold, Turn
from observability.pace import Pace
from observability.retention import erase_text

from .files import storage
from .models import Attachment, Thread, ThreadItem

logger = logging.getLogger(__name__)

RUNNING = Turn.Status.RUNNING
BATCH_SIZE = 500
UNSENT_FOR = timedelta(days=1)
"""How long a file may lie in a composer before it is swept."""
SWEEP_INTERVAL = 600.0
"""How often, in seconds, each process looks for such files."""
SWEEP_SECONDS = 5.0
"""How long it deletes them at a time: the worker has other things to do."""
SWEEP_BATCH = 50


@dataclass(frozen=True, kw_only=True)
class PurgeSummary:
    """How much a purge removed, or would remove. Summaries add up."""

    threads: int = 0
    items: int = 0
    attachments: int = 0
    files: int = 0
    turns: int = 0
    """Turns that lost their text; their metrics stay."""
    records: int = 0
    """Client events, ratings and requests: what tells when somebody did what, without text."""
    skipped: int = 0
    """Threads that were left, since a turn of theirs is running."""
    held: int = 0
    """Threads that were left, since they are on hold."""
    files_left: int = 0
    """Files that the storage did not delete. Their attachments are kept for the next purge."""

    def __add__(self, other: PurgeSummary) -> PurgeSummary:
        return PurgeSummary(
            **{
                each.name: getattr(self, each.name) + getattr(other, each.name)
                for each in fields(self)
            }
        )

    @property
    def gone(self) -> dict[str, int]:
        """What was removed, by the names that a retention run tells it under."""
        return {
            "threads": self.threads,
            "items": self.items,
            "attachments": self.attachments,
            "files": self.files,
            "texts": self.turns,
            "records": self.records,
        }

    @property
    def rows(self) -> int:
        """A measure of the work: the rows that were dealt with."""
        return (
            self.threads
            + self.items
            + self.attachments
            + self.turns
            + self.records
            + self.skipped
            + self.held
        )


OnBatch = Callable[[PurgeSummary], None]
"""Told after each batch, when it is committed, what it did."""


def purge(
    threads: QuerySet[Thread],
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: OnBatch | None = None,
    even_running: bool = False,
) -> PurgeSummary:
    """Delete these threads with their items, attachments and files, and their turns' text.

    A thread with a running turn is left and counted as skipped, unless ``even_running``: for an
    owner who deletes, there is no next time. One on hold is left and counted as held, whoever
    deletes; the text of a turn on hold stays too. A file that the storage does not delete is
    counted, logged and kept with its attachment, without a thread, for the next purge of a scope.

    Not to be called in a transaction (RuntimeError): files go when the rows are surely gone.
    ``threads`` is not sliced, and filtered by the threads' own columns.
    """
    total = PurgeSummary()
    pace = Pace()
    for keys in batches(threads, batch_size):
        for some in pace.portions(keys):
            # Filtered again, under lock: a thread that was written in meanwhile is idle no longer.
            total += told(on_batch, _purge_threads(threads.filter(pk__in=some), even_running))
    return total


def purge_attachments(
    attachments: QuerySet[Attachment],
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: OnBatch | None = None,
) -> PurgeSummary:
    """Delete these attachments with their files. What resists is kept, as by :func:`purge`, and so
    is what belongs to a thread on hold.
    """
    total = PurgeSummary()
    for keys in batches(attachments.exclude(on_held_thread("thread__key")), batch_size):
        total += told(on_batch, _purge_attachments(keys))
    return total


def sweep_unsent(*, batch_size: int = SWEEP_BATCH) -> PurgeSummary:
    """Delete uploads that were not finished, or not sent, within :data:`UNSENT_FOR`.

    The worker does it now and then, :data:`SWEEP_SECONDS` at a time; what is left is for the next
    time. A purge of old conversations does the same at its own age.
    """
    until = time.monotonic() + SWEEP_SECONDS
    total = PurgeSummary()
    unsent = Attachment.objects.loose().filter(created_at__lt=timezone.now() - UNSENT_FOR)
    for keys in batches(unsent, batch_size):
        total += _purge_attachments(keys)
        if time.monotonic() > until:
            break
    return total


def _purge_threads(threads: QuerySet[Thread], even_running: bool) -> PurgeSummary:
    """One portion. Queries: 13 or less, and those for the attachments' files."""
    with transaction.atomic(durable=True):
        columns = threads.order_by("pk").values_list("pk", "tenant", "owner_key", "key")
        found = {tuple(whose): pk for pk, *whose in columns.select_for_update()}
        keys = [key for _, _, key in found]
        # Locked before holds are asked for: see holds.place_on_thread.
        locked = Turn.objects.filter(thread_id__in=keys).order_by("pk").select_for_update()
        turns = {
            pk: (found[tuple(whose)], status, purged_at)
            for pk, status, purged_at, *whose in locked.values_list(
                "pk", "status", "text_purged_at", "tenant", "owner_key", "thread_id"
            )
            # A thread of this name may have been another owner's.
            if tuple(whose) in found
        }
        holds = Hold.objects.filter(Q(turn__in=list(turns)) | Q(turn=None, thread_id__in=keys))
        held: set[Any] = set()
        kept: set[Any] = set()
        for turn, *whose in holds.values_list("turn", "tenant", "owner_key", "thread_id"):
            if turn is not None:
                held.add(turn)
            elif tuple(whose) in found:
                kept.add(found[tuple(whose)])
        running = {thread for thread, status, _ in turns.values() if status == RUNNING}
        busy = set() if even_running else running - kept
        going = set(found.values()) - kept - busy
        with_text = [
            pk
            for pk, (thread, _, purged_at) in turns.items()
            if thread in going and purged_at is None and pk not in held
        ]
        erase_text(with_text)
        loose = list(Attachment.objects.filter(thread__in=going).values_list("pk", flat=True))
        # Django reads the rows whose deletion deletes others: their keys are enough. It takes the
        # threads from their attachments, too.
        _, deleted = Thread.objects.filter(pk__in=going).only("pk").delete()
    done = PurgeSummary(
        threads=len(going),
        items=deleted.get(ThreadItem._meta.label, 0),
        turns=len(with_text),
        skipped=len(busy),
        held=len(kept),
    )
    for start in range(0, len(loose), BATCH_SIZE):
        done += _purge_attachments(loose[start : start + BATCH_SIZE])
    return done


def _purge_attachments(keys: list[Any]) -> PurgeSummary:
    """Delete the bytes, then the rows. A file that is missing already is as good as deleted."""
    files_storage = storage()
    rows = Attachment.objects.filter(pk__in=keys).values_list("pk", "key", "file")
    gone: list[Any] = []
    files = files_left = 0
    for pk, key, name in rows:
        if name:
            try:
                files_storage.delete(name)
            except FileNotFoundError:
                pass
            except Exception as error:
                # Storages raise what they like. Its text may quote the name, which a visitor chose.
                logger.error(
                    "The file of attachment %s was not deleted: %s", key, type(error).__name__
                )
                files_left += 1
                continue
            files += 1
        gone.append(pk)
    deleted, _ = Attachment.objects.filter(pk__in=gone).delete()
    return PurgeSummary(attachments=deleted, files=files, files_left=files_left)


def in_thread(threads: QuerySet[Thread]) -> Exists:
    """The condition that a turn belongs to one of these threads, as its owner's."""
    return Exists(
        threads.filter(
            key=OuterRef("thread_id"),
            tenant=OuterRef("tenant"),
            owner_key=OuterRef("owner_key"),
        )
    )


def batches(rows: QuerySet[Any], size: int) -> Iterator[list[Any]]:
    """Primary keys in their order, so many at a time; looked up only when they are wanted."""
    if size < 1:
        raise ValueError("A batch holds at least one row.")
    keys = rows.order_by("pk").values_list("pk", flat=True)
    batch = list(keys[:size])
    while batch:
        yield batch
        batch = list(keys.filter(pk__gt=batch[-1])[:size])


def told(on_batch: OnBatch | None, done: PurgeSummary) -> PurgeSummary:
    if on_batch is not None:
        on_batch(done)
    return done

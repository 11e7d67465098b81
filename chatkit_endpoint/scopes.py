"""Which conversations a purge is for, and all that goes with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from observability.holds import held_turns, on_held_thread
from observability.models import ClientEvent, Delivery, EndpointRequest, Feedback, Turn
from observability.pace import Pace
from observability.retention import purge_text

from .conf import conf
from .models import Attachment, Thread, ThreadItem
from .owners import Owner, owners_without_account
from .retention import (
    BATCH_SIZE,
    SWEEP_SECONDS,
    OnBatch,
    PurgeSummary,
    batches,
    in_thread,
    purge,
    purge_attachments,
    told,
)

RowsT = TypeVar("RowsT", bound=QuerySet[Any])

ACCOUNTS_INTERVAL = 3600.0
"""How often, in seconds, each process looks for what the deletion of an account has left."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which conversations a purge is for: one, an owner's, those idle since then; what is given
    of these has to be true of all. Raises ValueError without any: that would be everything.
    """

    idle_since: datetime | None = None
    owner: Owner | None = None
    thread: str | None = None
    """The id that ChatKit knows it by."""

    def __post_init__(self) -> None:
        if self.idle_since is None and self.owner is None and self.thread is None:
            raise ValueError("A purge needs a time, an owner or a thread.")

    def threads(self) -> QuerySet[Thread]:
        threads = self._narrowed(Thread.objects.all(), "updated_at")
        return threads if self.thread is None else threads.filter(key=self.thread)

    def loose_attachments(self) -> QuerySet[Attachment]:
        """Attachments of no thread: never sent, or kept by a purge that could not finish."""
        attachments = self._narrowed(Attachment.objects.loose(), "created_at")
        return attachments if self.thread is None else attachments.none()

    def stray_turns(self, *, even_running: bool = False) -> QuerySet[Turn]:
        """Turns with text whose thread is gone, or never was in this site's store."""
        turns = Turn.objects.with_text().exclude(held_turns())
        if not even_running:
            turns = turns.exclude(status=Turn.Status.RUNNING)
        turns = self._narrowed(turns.exclude(in_thread(Thread.objects.all())), "started_at")
        return turns if self.thread is None else turns.filter(thread_id=self.thread)

    def records(self) -> list[QuerySet[Any]]:
        """What holds no text, and goes when all that an owner has does."""
        if self.owner is None:
            return []
        of_turn, by_trace = Q(turn__holds__isnull=True), ~Q(trace_id__in=_held_traces())
        found = (
            self._narrowed(ClientEvent.objects.filter(of_turn), "received_at"),
            self._narrowed(Feedback.objects.filter(of_turn), "updated_at"),
            self._narrowed(EndpointRequest.objects.filter(by_trace), "started_at"),
        )
        rows = [each.exclude(on_held_thread("thread_id")) for each in found]
        return (
            rows if self.thread is None else [each.filter(thread_id=self.thread) for each in rows]
        )

    def _narrowed(self, rows: RowsT, moment: str) -> RowsT:
        if self.idle_since is not None:
            rows = rows.filter(**{f"{moment}__lt": self.idle_since})
        return rows if self.owner is None else self.owner.own(rows)


def purge_scope(
    scope: Scope,
    *,
    batch_size: int = BATCH_SIZE,
    on_batch: OnBatch | None = None,
    even_running: bool = False,
) -> PurgeSummary:
    """Remove the scope's threads as :func:`purge` does, and what earlier ones left behind.

    Of an owner also what has no text but tells what they did when. The figures of turns stay.
    """
    total = PurgeSummary()
    # What has no thread first: else an attachment whose file resists would be tried twice.
    loose = scope.loose_attachments()
    total += purge_attachments(loose, batch_size=batch_size, on_batch=on_batch)
    pace = Pace()
    for turns in batches(scope.stray_turns(even_running=even_running), batch_size):
        for some in pace.portions(turns):
            purged = purge_text(Turn.objects.filter(pk__in=some), even_running=even_running)
            total += told(on_batch, PurgeSummary(turns=purged))
    for rows in scope.records():
        for keys in batches(rows, batch_size):
            total += told(on_batch, _purge_records(rows.filter(pk__in=keys)))
    return total + purge(
        scope.threads(), batch_size=batch_size, on_batch=on_batch, even_running=even_running
    )


def purge_owner(owner: Owner) -> PurgeSummary:
    """Remove all that this owner has, also what is being answered: there is no next time."""
    return purge_scope(Scope(owner=owner), even_running=True)


def survey(scope: Scope) -> PurgeSummary:
    """What :func:`purge_scope` would do now. Changes nothing."""
    threads = scope.threads().exclude(on_held_thread("key"))
    running = Turn.objects.running()
    of_thread = running.filter(
        thread_id=OuterRef("key"), tenant=OuterRef("tenant"), owner_key=OuterRef("owner_key")
    )
    # Few turns run at a time: by their threads' keys first, so that not every thread is asked.
    busy = threads.filter(Exists(of_thread), key__in=running.values("thread_id"))
    going = threads.exclude(pk__in=busy.values("pk"))
    attachments = Attachment.objects.filter(thread__in=going)
    loose = scope.loose_attachments()
    return PurgeSummary(
        threads=going.count(),
        items=ThreadItem.objects.filter(thread__in=going).count(),
        attachments=attachments.count() + loose.count(),
        files=attachments.exclude(file="").count() + loose.exclude(file="").count(),
        turns=Turn.objects.with_text().filter(in_thread(going)).exclude(held_turns()).count()
        + scope.stray_turns().count(),
        records=sum(rows.count() for rows in scope.records()),
        skipped=busy.count(),
        held=scope.threads().filter(on_held_thread("key")).count(),
    )


def retire(now: datetime, report: Callable[[Mapping[str, int]], None]) -> None:
    """The chat's step of the daily retirement: what nobody has written in for too long."""
    if days := conf().thread_retention_days:
        idle = Scope(idle_since=now - timedelta(days=days))
        purge_scope(idle, on_batch=lambda done: report(done.gone))


def sweep_deleted_accounts() -> PurgeSummary:
    """Remove what is left of accounts that are gone: where their own purge was cut short.

    The worker does it now and then, an owner after the other for :data:`SWEEP_SECONDS`.
    """
    until = time.monotonic() + SWEEP_SECONDS
    total = PurgeSummary()
    for owner in owners_without_account():
        total += purge_owner(owner)
        if time.monotonic() > until:
            break
    return total


def _purge_records(rows: QuerySet[Any]) -> PurgeSummary:
    """One batch. What was still to be told of client events is settled as purged."""
    with transaction.atomic():
        if issubclass(rows.model, ClientEvent):
            Delivery.objects.outstanding().filter(client_event__in=rows).update(
                state=Delivery.State.PURGED,
                lease_token=None,
                lease_expires_at=None,
                settled_at=timezone.now(),
            )
        _, deleted = rows.delete()
    return PurgeSummary(records=deleted.get(rows.model._meta.label, 0))


def _held_traces() -> QuerySet[Turn, str]:
    return Turn.objects.filter(holds__isnull=False).values_list("trace_id", flat=True)

"""The daily retirement of what is too old: by the worker, one process at a time, slice by slice.

The worker has turns to keep alive and deliveries to send, so a run is cut into slices of some
seconds, with pauses between them. A slice goes on where the one before stopped, for what went is
gone. The lease is a row: a process that dies leaves its run to another.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from .conf import conf
from .models import RetentionRun
from .retention import delete_client_events, delete_deliveries, delete_turns
from .rollups import hours_until
from .search import forget_deleted

logger = logging.getLogger(__name__)

INTERVAL = 10.0
"""How often, in seconds, each process looks whether there is a slice to do."""
SLICE_SECONDS = 2.0
EVERY = timedelta(days=1)
AGAIN_AFTER = timedelta(hours=1)
"""When a run that failed is tried anew."""
LEASE = timedelta(minutes=2)
"""Far longer than a slice and the pause behind it."""

Report = Callable[[Mapping[str, int]], None]
"""To be told after each batch, when it is committed, how much of what went."""
Step = Callable[[datetime, Report], None]
"""Retires what is too old at that time, batch by batch; nothing where no limit is set."""

NO_PROGRESS = "NoProgress"
"""The error of a run that can't go on: all that is left resists, or is spared."""

_tokens: dict[int, uuid.UUID] = {}
"""By the process, for a fork has its parent's memory: what it owns runs by."""


class _SliceIsOver(Exception):
    """Raised through a step by its report: its last batch is committed."""


def _turns(now: datetime, report: Report) -> None:
    days, rolled_up_until = conf().trace_retention_days, hours_until()
    # What turns came to outlives them, so it has to be known first.
    if days and rolled_up_until:
        delete_turns(min(now - timedelta(days=days), rolled_up_until), report)


def _client_events(now: datetime, report: Report) -> None:
    if days := conf().observability_event_retention_days:
        delete_client_events(now - timedelta(days=days), report)


def _deliveries(now: datetime, report: Report) -> None:
    if days := conf().observability_delivery_retention_days:
        delete_deliveries(now - timedelta(days=days), report)


_steps: list[Step] = [_client_events, _deliveries, _turns]


def register(step: Step) -> None:
    """Have an app's own step done before those of this one. For the app's ``ready``."""
    _steps.insert(0, step)


def tick() -> None:
    """Do a slice, if a run is due and no other process is at it. What a step raises ends the run,
    is kept with it by its type, and rises.
    """
    run = _claim()
    if run is None:
        return
    counts = Counter(run.counts)
    until = time.monotonic() + SLICE_SECONDS

    def report(done: Mapping[str, int]) -> None:
        counts.update({name: count for name, count in done.items() if count})
        if time.monotonic() >= until:
            raise _SliceIsOver

    error = ""
    is_finished = True
    try:
        for step in tuple(_steps):
            step(run.started_at, report)
        forget_deleted(SLICE_SECONDS)
    except _SliceIsOver:
        is_finished = counts == run.counts
        error = NO_PROGRESS if is_finished else ""
    except Exception as caught:
        error = type(caught).__name__
        raise
    finally:
        _keep(run, counts, error=error, is_finished=is_finished)


def _claim() -> RetentionRun | None:
    """This process' run, an abandoned one, or a new one; None where there is nothing to do."""
    run: RetentionRun
    lease = {"lease_token": _token(), "lease_expires_at": Now() + LEASE}
    mine = RetentionRun.objects.unfinished().filter(lease_token=_token())
    if mine.update(**lease) or RetentionRun.objects.abandoned().update(**lease):
        return mine.first()
    if RetentionRun.objects.unfinished().exists() or not _is_due():
        return None
    try:
        with transaction.atomic():
            run = RetentionRun.objects.create(**lease)
    except IntegrityError:
        return None  # Another process was first.
    return run


def _is_due() -> bool:
    last = RetentionRun.objects.first()
    pause = AGAIN_AFTER if last is not None and last.error else EVERY
    return last is None or timezone.now() - last.started_at >= pause


def _keep(run: RetentionRun, counts: Counter[str], *, error: str, is_finished: bool) -> None:
    changes: dict[str, Any] = {"counts": dict(counts), "error": error}
    if is_finished:
        changes["finished_at"] = timezone.now()
    # Unless another process took it over: then it is that one's to tell.
    RetentionRun.objects.unfinished().filter(pk=run.pk, lease_token=run.lease_token).update(
        **changes
    )
    if is_finished and not error and counts:
        logger.info("What was too old is gone.", extra={"fields": dict(counts)})


def _token() -> uuid.UUID:
    return _tokens.setdefault(os.getpid(), uuid.uuid4())

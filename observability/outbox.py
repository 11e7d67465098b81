"""The outbox: deliveries made, claimed and settled. Database only.

Delivery is at least once. A delivery is made in the transaction that settles what it tells of, so
neither exists without the other. A worker claims it with a lease of its own token, and settles it
only while that lease holds. A worker that dies leaves a lease that runs out; the next claim takes
it over. So an event is sent twice only where an answer was lost or a lease ran out, and both times
with the same ``event_id``.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.constants import OnConflict
from django.db.models.functions import Now
from django.utils import timezone

from . import destinations
from .models import ClientEvent, Delivery, DeliveryQuerySet, Turn
from .prepared import Insert, Ready, run_together

logger = logging.getLogger(__name__)

ANOSYS = "anosys"

LEASE_SECONDS = 60.0
"""How long a claim holds: far longer than one request may take, for it covers a whole batch."""
BACKOFF_BASE_SECONDS = 1.0
BACKOFF_CAP_SECONDS = 15 * 60.0
GIVE_UP_AFTER = timedelta(hours=72)
"""Age at which a delivery that still fails is given up. A count would depend on the backoff."""

_NEW: dict[str, Any] = {
    "state": Delivery.State.PENDING,
    "attempts": 0,
    "lease_token": None,
    "lease_expires_at": None,
    "last_status": None,
    "last_error": "",
    "settled_at": None,
}
_put_deliveries = Insert(
    Delivery,
    without=("created_at", "available_at"),
    on_conflict=OnConflict.UPDATE,
    unique_fields=("destination", "event_id"),
    update_fields=("turn", "client_event", "created_at", "available_at", *_NEW),
)


def enabled_destinations() -> list[str]:
    """The destinations that the settings switch on."""
    return destinations.enabled()


def enqueue_turn(turn: Turn, *others: Ready) -> None:
    """Make the turn's delivery to each destination that is enabled and takes turns, and wake the
    worker on commit. The ``others`` are run in one go with that.

    To be called in the transaction that settles the turn. A delivery that is there already, since
    the turn was swept and settled late after all, starts anew; who is sending it loses the lease.
    """
    _enqueue(Delivery.Kind.TURN, *others, event_id=turn.trace_id, turn=turn)


def enqueue_action(event: ClientEvent) -> None:
    """The same for what a visitor did; to be called in the transaction that keeps it."""
    _enqueue(Delivery.Kind.ACTION, event_id=event.event_id, turn=event.turn, client_event=event)


def _enqueue(kind: Delivery.Kind, *others: Ready, **tells: Any) -> None:
    names = destinations.enabled(kind)
    deliveries = [Delivery(destination=name, kind=kind, **tells, **_NEW) for name in names]
    run_together(*others, *_put_deliveries.ready(deliveries))
    if names:
        _wake_worker()


def has_due(destination: str) -> bool:
    """Whether there is anything to claim: a read, where a claim would take the write lock."""
    return _due(destination).exists()


def claim(limit: int, destination: str = ANOSYS) -> list[Delivery]:
    """Lease up to ``limit`` due deliveries, the longest due first, to a new token.

    What they tell of is not loaded: look it up when you send it, for it may be purged until then.
    """
    token = uuid.uuid4()
    due = _due(destination).order_by("available_at", "pk")
    with transaction.atomic():
        # Two statements: in one, PostgreSQL's planner may run the subquery again and lease more.
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        ids = list(due.values_list("pk", flat=True)[:limit])
        if not ids:
            return []
        Delivery.objects.filter(pk__in=ids).update(
            state=Delivery.State.LEASED,
            lease_token=token,
            lease_expires_at=Now() + timedelta(seconds=LEASE_SECONDS),
        )
    return list(Delivery.objects.leased_by(token).order_by("available_at", "pk"))


def delivered(deliveries: Sequence[Delivery], *, status: int | None = None, error: str = "") -> int:
    """The collector has these, of one claim, or all but what ``error`` says. Returns how many were
    still leased: what is not, another worker has taken over.
    """
    return _settle(deliveries, Delivery.State.DELIVERED, status=status, error=error)


def dead(
    delivery: Delivery, *, status: int | None = None, error: str = ""
) -> Delivery.State | None:
    """Given up: the collector will never take it. Returns the new state, or None if the lease was
    lost meanwhile.
    """
    return _one(delivery, Delivery.State.DEAD, status=status, error=error)


def retry(
    delivery: Delivery,
    *,
    status: int | None = None,
    error: str = "",
    retry_after: float | None = None,
) -> Delivery.State | None:
    """Not now: pending again after a backoff, or dead if too old. Returns like :func:`dead`.

    ``retry_after`` is the collector's wish in seconds.
    """
    if timezone.now() - delivery.created_at > GIVE_UP_AFTER:
        return dead(delivery, status=status, error=error)
    seconds = backoff_seconds(delivery.attempts, retry_after)
    return _one(
        delivery,
        Delivery.State.PENDING,
        status=status,
        error=error,
        settled_at=None,
        available_at=Now() + timedelta(seconds=seconds),
    )


def purged(delivery: Delivery) -> Delivery.State | None:
    """What it told of is gone, so there is nothing to send. Returns like :func:`dead`."""
    return _one(delivery, Delivery.State.PURGED, attempts=delivery.attempts)


def send_again(deliveries: DeliveryQuerySet) -> int:
    """Make those of these that were given up as if they were new. Returns how many were."""
    # By its age a delivery is given up.
    count = deliveries.filter(state=Delivery.State.DEAD).change(
        state=Delivery.State.PENDING,
        created_at=Now(),
        available_at=Now(),
        attempts=0,
        settled_at=None,
    )
    if count:
        _wake_worker()
    return count


def release(token: uuid.UUID) -> int:
    """Give back what this token still leases, uncounted and due at once. Returns how many."""
    return Delivery.objects.leased_by(token).change(
        state=Delivery.State.PENDING, lease_token=None, lease_expires_at=None
    )


def heed_clock() -> int:
    """Have what a clock that was set back made wait too long wait no longer than it ever may.

    Returns how many there were. To be called now and then: until it is, such rows are not due.
    """
    lease_end = Now() + timedelta(seconds=LEASE_SECONDS)
    waiting = Delivery.objects.filter(settled_at=None)
    leased = waiting.filter(state=Delivery.State.LEASED, lease_expires_at__gt=lease_end)
    # What was never tried has nothing to wait for.
    longest = Now() + timedelta(seconds=BACKOFF_CAP_SECONDS)
    too_late = Q(available_at__gt=longest) | Q(attempts=0, available_at__gt=Now())
    pending = waiting.filter(too_late, state=Delivery.State.PENDING)
    count = 0
    # Looked for first: an update takes SQLite's write lock also where it changes nothing.
    if leased.exists():
        count += leased.change(lease_expires_at=lease_end)
    if pending.exists():
        count += pending.change(available_at=Now())
    if count:
        logger.warning("The clock was set back; %d deliveries wait for it no longer.", count)
    return count


def backoff_seconds(attempts: int, retry_after: float | None = None) -> float:
    """Exponential with full jitter; what the collector asked for is a floor, up to the same cap."""
    ceiling = min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2 ** min(attempts, 30))
    jittered = random.uniform(0, ceiling)  # noqa: S311 (spreads load, hides nothing)
    return max(jittered, min(retry_after or 0, BACKOFF_CAP_SECONDS))


def _wake_worker() -> None:
    from . import worker  # The worker stands on this module.

    transaction.on_commit(worker.wake, robust=True)


def _due(destination: str) -> DeliveryQuerySet:
    # That it is unsettled goes without saying, but not to SQLite: it uses a partial index only
    # where the query repeats its condition, and sees no values of parameters when it decides.
    return Delivery.objects.due().filter(destination=destination, settled_at=None)


def _one(delivery: Delivery, state: Delivery.State, **outcome: Any) -> Delivery.State | None:
    return state if _settle([delivery], state, **outcome) else None


def _settle(
    deliveries: Sequence[Delivery],
    state: Delivery.State,
    *,
    status: int | None = None,
    error: str = "",
    **changes: Any,
) -> int:
    """Write an outcome, unless the lease was lost: then another worker's outcome counts."""
    token = deliveries[0].lease_token
    if token is None:
        return 0
    values = {
        "attempts": F("attempts") + 1,
        "settled_at": Now(),
        "last_status": status,
        "last_error": error[:200],
        "lease_token": None,
        "lease_expires_at": None,
        **changes,
    }
    ours = Delivery.objects.leased_by(token).filter(pk__in=[each.pk for each in deliveries])
    # One row by itself can't be part of a deadlock.
    write = ours.update if len(deliveries) == 1 else ours.change
    return write(state=state, **values)

"""The state of the chat right now, and which turns to look at: queries, no words."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, F, Min, Q, QuerySet

from .destinations import registry
from .encryption import beginning
from .models import ERRORS, Delivery, Turn, TurnQuerySet

BEGINNING = 200
"""How many characters of a long text a list reads."""


@dataclass(frozen=True, kw_only=True)
class Running:
    turns: int
    orphaned: int
    """How many of them nobody seems to work on any more."""


@dataclass(frozen=True, kw_only=True)
class Outbox:
    waiting: int
    oldest_at: datetime | None
    """Since when the longest waiting delivery waits."""
    dead: int
    dead_lately: int
    last_delivered_at: datetime | None


def running() -> Running:
    return Running(turns=Turn.objects.running().count(), orphaned=Turn.objects.orphaned().count())


def outbox(since: datetime) -> Outbox:
    """The outbox now; ``since`` is from when on a given up delivery is news."""
    deliveries = Delivery.objects.order_by()
    # What is outstanding, by the index of what is due: in full, or SQLite would count all rows.
    waiting = (
        deliveries.outstanding()
        .filter(settled_at=None, destination__in=registry())
        .aggregate(count=Count("pk"), oldest_at=Min("created_at"))
    )
    dead = deliveries.filter(state=Delivery.State.DEAD).aggregate(
        count=Count("pk"), lately=Count("pk", filter=Q(settled_at__gte=since))
    )
    # By the index of what is settled: most of that was delivered.
    delivered = deliveries.filter(state=Delivery.State.DELIVERED, settled_at__isnull=False)
    last = delivered.order_by("-settled_at", "-pk").values_list("settled_at", flat=True).first()
    return Outbox(
        waiting=waiting["count"],
        oldest_at=waiting["oldest_at"],
        dead=dead["count"],
        dead_lately=dead["lately"],
        last_delivered_at=last,
    )


def brief(turns: TurnQuerySet) -> QuerySet[Turn]:
    """For lists: without the long texts, but with the beginnings of two and with their users."""
    return (
        turns.without_texts()
        .annotate(
            prompt_start=beginning("prompt", BEGINNING),
            error_start=beginning("error_message", BEGINNING),
        )
        .select_related("user")
    )


def slowest(since: datetime, limit: int, *, at_least_ms: int) -> QuerySet[Turn]:
    """The turns that took longest from the request to the end.

    ``at_least_ms``: what so many of them are known to have taken. It spares the index of these
    times the walk through all the turns that were quicker.
    """
    turns = Turn.objects.filter(started_at__gte=since, total_ms__gte=at_least_ms)
    return brief(turns.order_by(F("total_ms").desc(), F("started_at").desc()))[:limit]


def failed(since: datetime, limit: int) -> list[Turn]:
    """The newest turns that ended in an error: a query for each way of failing, for its index."""
    found = [
        turn
        for status in ERRORS
        for turn in brief(
            Turn.objects.filter(status=status, started_at__gte=since).order_by(
                F("started_at").desc()
            )
        )[:limit]
    ]
    return heapq.nlargest(limit, found, key=lambda turn: (turn.started_at, turn.pk))

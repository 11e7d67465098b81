"""Rates, percentiles and the state of the outbox: queries and sums, no words.

Everything is exact and read from the turns themselves: the cost grows with the turns in the range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, F, Max, Min, Q, QuerySet
from django.db.models.functions import Left
from django.utils import timezone

from .models import ERRORS, Delivery, Turn, TurnQuerySet

BEGINNING = 200
"""How many characters of a long text a list reads."""


class Sample(NamedTuple):
    """What one turn adds to the figures."""

    started_at: datetime
    status: str
    ttft_ms: int | None
    duration_ms: int | None


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """Null where there was no value."""

    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, values: Iterable[int | None]) -> Percentiles:
        ordered = sorted(value for value in values if value is not None)
        return cls(
            p50=percentile(ordered, 0.50),
            p95=percentile(ordered, 0.95),
            p99=percentile(ordered, 0.99),
        )


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a range of turns comes to; times in ms."""

    turns: int
    settled: int
    errors: int
    ttft: Percentiles
    duration: Percentiles

    @property
    def error_rate(self) -> float | None:
        """Errors among the settled turns, 0 to 1; None where none has settled."""
        return self.errors / self.settled if self.settled else None


@dataclass(frozen=True, kw_only=True)
class Hour:
    starts_at: datetime
    figures: Figures


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


def percentile(ordered: Sequence[int], share: float) -> float | None:
    """Of ascending values, with linear interpolation between the two nearest; None of none."""
    if not ordered:
        return None
    position = (len(ordered) - 1) * share
    below = math.floor(position)
    above = math.ceil(position)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def samples(since: datetime) -> list[Sample]:
    """The turns that started since then, in one query."""
    rows = Turn.objects.filter(started_at__gte=since).order_by()
    return [Sample(*row) for row in rows.values_list(*Sample._fields).iterator()]


def figures(of: Iterable[Sample]) -> Figures:
    of = tuple(of)
    return Figures(
        turns=len(of),
        settled=sum(sample.status != Turn.Status.RUNNING for sample in of),
        errors=sum(sample.status in ERRORS for sample in of),
        ttft=Percentiles.of(sample.ttft_ms for sample in of),
        duration=Percentiles.of(sample.duration_ms for sample in of),
    )


def by_hour(of: Iterable[Sample], now: datetime, hours: int = 24) -> list[Hour]:
    """The last so many hours of the clock in the current time zone; the last is still going on."""
    this_hour = timezone.localtime(now).replace(minute=0, second=0, microsecond=0)
    # In UTC, where every hour has sixty minutes and comes once.
    first = this_hour.astimezone(UTC) - timedelta(hours=hours - 1)
    buckets: list[list[Sample]] = [[] for _ in range(hours)]
    for sample in of:
        hour = int((sample.started_at - first) // timedelta(hours=1))
        if 0 <= hour < hours:
            buckets[hour].append(sample)
    return [
        Hour(starts_at=first + timedelta(hours=hour), figures=figures(bucket))
        for hour, bucket in enumerate(buckets)
    ]


def running() -> Running:
    return Running(turns=Turn.objects.running().count(), orphaned=Turn.objects.orphaned().count())


def outbox(since: datetime) -> Outbox:
    """The outbox now; ``since`` is from when on a given up delivery is news."""
    deliveries = Delivery.objects.order_by()
    waiting = deliveries.outstanding().aggregate(count=Count("pk"), oldest_at=Min("created_at"))
    dead = deliveries.filter(state=Delivery.State.DEAD).aggregate(
        count=Count("pk"), lately=Count("pk", filter=Q(settled_at__gte=since))
    )
    delivered = deliveries.filter(state=Delivery.State.DELIVERED).aggregate(last=Max("settled_at"))
    return Outbox(
        waiting=waiting["count"],
        oldest_at=waiting["oldest_at"],
        dead=dead["count"],
        dead_lately=dead["lately"],
        last_delivered_at=delivered["last"],
    )


def brief(turns: TurnQuerySet) -> QuerySet[Turn]:
    """For lists: without the long texts, but with the beginnings of two and with their users."""
    return (
        turns.without_texts()
        .annotate(
            prompt_start=Left("prompt", BEGINNING), error_start=Left("error_message", BEGINNING)
        )
        .select_related("user")
    )


def slowest(since: datetime, limit: int) -> QuerySet[Turn]:
    """The turns that took longest from the request to the end."""
    turns = Turn.objects.filter(started_at__gte=since, total_ms__isnull=False)
    return brief(turns.order_by(F("total_ms").desc(), "-pk"))[:limit]


def failed(since: datetime, limit: int) -> QuerySet[Turn]:
    """The newest turns that ended in an error."""
    return brief(Turn.objects.with_errors().filter(started_at__gte=since))[:limit]

"""How turns went over time: rollups, and the turns themselves of what is not rolled up yet.

What it costs does not grow with the turns in the range, but for those of the current hour.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .models import Rollup, RollupQuerySet, Turn, TurnQuerySet
from .rollups import (
    CONTENTS,
    HOUR,
    Key,
    counts_of,
    day_after,
    day_of,
    days_until,
    hour_of,
    hours_until,
    most,
)
from .tallies import COLUMNS, SUMS, Figures, Row, Tally

FIVE_MINUTES = timedelta(minutes=5)
LIVE_AT_MOST = timedelta(days=2)
"""How much is read from the turns themselves where no worker has rolled them up."""
LISTED = 10
"""Of how many models, locales and users a trend tells: those with the most turns."""


class Range(models.TextChoices):
    HOUR = "1h", _("1 hour")
    DAY = "24h", _("24 hours")
    WEEK = "7d", _("7 days")
    MONTH = "30d", _("30 days")
    QUARTER = "90d", _("90 days")


DAYS = {Range.WEEK: 7, Range.MONTH: 30, Range.QUARTER: 90}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A part of the range; it ends where the next begins, and the last one now."""

    starts_at: datetime
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class Share:
    """The part of a range that belongs to a model, a locale or an owner."""

    value: str
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class Trend:
    since: datetime
    until: datetime
    bars: list[Bar]
    total: Figures
    by: dict[str, list[Share]]
    """By dimension, those with the most turns first."""
    at_least_ms: int
    """What each of the ten slowest turns took in all."""
    gap: tuple[datetime, datetime] | None
    """Turns of this time are not counted: no worker has rolled them up."""


# -- the ranges ------------------------------------------------------------------------------------


def starts(of: Range, now: datetime) -> list[datetime]:
    """Where the bars of a range begin, in UTC: at round times of the clock, the last before now.

    Hours are those of the current time zone, days those of the site's, as in the rollups.
    """
    if of == Range.HOUR:
        last = hour_of(now) + (now - hour_of(now)) // FIVE_MINUTES * FIVE_MINUTES
        return [last - FIVE_MINUTES * back for back in range(11, -1, -1)]
    if of == Range.DAY:
        return [hour_of(now) - HOUR * back for back in range(23, -1, -1)]
    if of == Range.WEEK:
        return _quarters_of_days(now)
    days = _days(now, DAYS[of])
    if of == Range.MONTH:
        return days
    # Weeks, the last one up to now; the first is as long as what is left.
    return [days[0], *days[len(days) % 7 :: 7]]


def start(hours: int, now: datetime) -> datetime:
    """So many hours before now: of one hour exactly, of more the full hour before that."""
    since = now - HOUR * hours
    return since if hours == 1 else hour_of(since)


def _days(now: datetime, count: int) -> list[datetime]:
    days = [day_of(now)]
    while len(days) < count:
        days.append(day_of(days[-1] - HOUR))
    return days[::-1]


def _quarters_of_days(now: datetime) -> list[datetime]:
    today = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    # Python's arithmetic is that of the wall clock: a day with a change of the clocks is one, too.
    marks = [
        (today - timedelta(days=back)).replace(hour=hour).astimezone(UTC)
        for back in range(DAYS[Range.WEEK] - 1, -1, -1)
        for hour in (0, 6, 12, 18)
    ]
    return [mark for mark in marks if mark <= now]


# -- what is stored --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Which rollups a range consists of: days, and hours before, behind or instead of them."""

    since: datetime
    until: datetime
    days: tuple[datetime, datetime]

    @classmethod
    def between(cls, since: datetime, until: datetime, *, days: datetime | None) -> Stored:
        """``days``: until when there are days to take; None takes hours only."""
        first = day_of(since)
        first = first if first >= since else day_after(first)
        if days is None or not first < days <= until:
            first = days = until
        return cls(since=since, until=until, days=(first, days))

    def rows(self, **of: object) -> RollupQuerySet:
        """Those of them that match these lookups."""
        first, last = self.days
        chosen = Q(pk__in=())
        for period, since, until in (
            (Rollup.Period.HOUR, self.since, first),
            (Rollup.Period.DAY, first, last),
            (Rollup.Period.HOUR, last, self.until),
        ):
            if since < until:
                # Each with all of its conditions, and so with a range of the index.
                chosen |= Q(period=period, starts_at__gte=since, starts_at__lt=until, **of)
        return Rollup.objects.filter(chosen)


# -- what they come to -----------------------------------------------------------------------------


def trend(of: Range, now: datetime) -> Trend:
    """How the turns of a range went, with its models, locales and users."""
    return over(starts(of, now), now, by=tuple(COLUMNS))


def lately(spans: Sequence[timedelta], now: datetime) -> list[Figures]:
    """What the turns of each of these last spans come to, to the second; read in one pass."""
    tallies = [(now - span, Tally()) for span in spans]
    turns = Turn.objects.filter(started_at__gte=now - max(spans)).order_by()
    for row in map(Row._make, turns.values_list(*Row._fields).iterator()):
        for since, tally in tallies:
            if row.started_at >= since:
                tally.add(row)
    return [tally.figures() for _since, tally in tallies]


def over(marks: Sequence[datetime], now: datetime, *, by: Sequence[str] = ()) -> Trend:
    """How the turns from the first of these marks until now went, bar by bar.

    ``by``: the dimensions to tell apart. Of one hour all is read from the turns themselves; else
    the marks, but for midnights of the site's time zone, are best full hours of UTC.
    """
    since = marks[0]
    days = days_until()
    edge = max(filter(None, (days, hours_until())), default=since)
    edge = since if now - since <= HOUR else max(since, edge)
    live_since = max(edge, hour_of(now - LIVE_AT_MOST))
    live = Turn.objects.filter(started_at__gte=live_since)
    are_days = all(day_of(mark) == mark for mark in marks[1:])

    bars = [Tally() for _ in marks]
    stored = Stored.between(since, edge, days=days if are_days else None).rows(dimension="")
    for columns in stored.values("starts_at", *CONTENTS).iterator():
        _at(columns["starts_at"], marks, bars).merge_columns(columns)
    shares = _shares(Stored.between(since, edge, days=days), live, by)
    for row in map(Row._make, live.order_by().values_list(*Row._fields).iterator()):
        _at(row.started_at, marks, bars).add(row)
        for dimension in by:
            if found := shares.get((dimension, row.value_of(dimension))):
                found.add(row)

    total = Tally()
    for tally in bars:
        total.merge(tally)
    return Trend(
        since=since,
        until=now,
        bars=[
            Bar(starts_at=mark, figures=tally.figures())
            for mark, tally in zip(marks, bars, strict=True)
        ],
        total=total.figures(),
        by={
            dimension: [
                Share(value=value, figures=tally.figures())
                for (of, value), tally in shares.items()
                if of == dimension
            ]
            for dimension in by
        },
        at_least_ms=total.total_ms.reached_by(LISTED),
        gap=(edge, live_since) if _has_gap(edge, live_since) else None,
    )


def _at(moment: datetime, marks: Sequence[datetime], bars: Sequence[Tally]) -> Tally:
    return bars[bisect_right(marks, moment) - 1]


def _shares(stored: Stored, live: TurnQuerySet, by: Sequence[str]) -> dict[Key, Tally]:
    """What is stored of the values with the most turns; those of ``live`` are yet to be added.

    Of users the sums alone: their percentiles would take as long as all the rest of the page.
    """
    if not by:
        return {}
    counts = counts_of(live)
    sums: dict[Key, dict[str, Any]] = {}
    grouped = stored.rows(dimension__in=by).order_by().values("dimension", "value")
    added: QuerySet[Any] = grouped.annotate(**{f"{name}_sum": Sum(name) for name in SUMS})
    for row in added.iterator():
        key = row["dimension"], row["value"]
        sums[key] = {name: row[f"{name}_sum"] for name in SUMS}
        counts[key] += sums[key]["turns"]
    shares = {key: Tally(**sums.get(key, {})) for key in most(counts, dict.fromkeys(by, LISTED))}
    told = [value for dimension, value in shares if dimension != Rollup.Dimension.USER]
    rows = stored.rows(dimension__in=set(by) - {Rollup.Dimension.USER}, value__in=told)
    for dimension, value, sketches in rows.values_list("dimension", "value", "sketches").iterator():
        if (dimension, value) in shares:
            shares[dimension, value].merge_sketches(sketches)
    return shares


def _has_gap(edge: datetime, live_since: datetime) -> bool:
    if edge >= live_since:
        return False
    return Turn.objects.filter(started_at__gte=edge, started_at__lt=live_since).exists()

"""Rollups: what the turns of each hour and day came to, kept by the workers of all processes.

An hour is one of UTC, and its turns are those that started in it. A day is one of the site's time
zone, merged from the hours that start in it (where the zone is off UTC by half an hour, so are the
edges of its days). Hours are computed in their order, and days likewise: so whatever is older than
the newest of them is there, or had no turn.

Nobody is told that a row is out of date; it is seen from ``computed_at``, which is the moment
*before* the turns were read. So any number of processes may compute the same rows at once: what the
one that writes last has missed, the next call sees.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Any

from django.db import transaction
from django.db.models import Count, Max
from django.utils import timezone

from .models import Feedback, Rollup, RollupQuerySet, Turn, TurnQuerySet
from .tallies import COLUMNS, SUMS, Row, Tally

INTERVAL = 60.0
BUDGET_SECONDS = 2.0
"""How long one call may go on; the rest is for the next."""
HOUR = timedelta(hours=1)
GRACE = timedelta(minutes=2)
"""An hour counts as over only then: another process may still be writing the turn of its last
second, and have a clock that is late."""
LOOK_BACK = timedelta(hours=1)
"""How far before the newest rollup it is looked for turns that have changed: longer than a backlog
lasts."""
LATE = timedelta(days=7)
"""An hour is not computed anew when it is older: its turns may be gone."""
LIMITS: Mapping[str, int] = {
    Rollup.Dimension.MODEL: 50,
    Rollup.Dimension.LOCALE: 50,
    Rollup.Dimension.USER: 20,
}
"""Of how many models, locales and users of an hour there are rows: those with the most turns."""
DAY_LIMIT = 50

Key = tuple[str, str]
"""A dimension and a value."""
ALL: Key = (Rollup.Dimension.ALL.value, "")
CONTENTS = tuple(
    field.name for field in Rollup._meta.concrete_fields if field.name in (*SUMS, "sketches")
)


def roll_up(now: datetime | None = None) -> int:
    """Compute what is missing or out of date, as much as a short call can. Returns how many hours.

    A chore of the worker.
    """
    now = now or timezone.now()
    deadline = time.monotonic() + BUDGET_SECONDS
    computed = 0
    for hour in _stale_hours(now):
        computed += compute_hour(hour, now)
        if time.monotonic() >= deadline:
            return computed
    for day in _stale_days(now):
        compute_day(day, now)
        if time.monotonic() >= deadline:
            break
    return computed


# -- hours and days --------------------------------------------------------------------------------


def hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_of(moment: datetime) -> datetime:
    """The midnight of the site's time zone before this moment, in UTC."""
    local = timezone.localtime(moment, timezone.get_default_timezone())
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)


def day_after(day: datetime) -> datetime:
    """The next midnight: 23, 24 or 25 hours later."""
    return day_of(day + timedelta(hours=30))


def open_hour(now: datetime) -> datetime:
    """The hour that is not over yet."""
    return hour_of(now - GRACE)


def hours_until() -> datetime | None:
    """The end of the newest hour that was computed: turns that started before are in a rollup."""
    newest = _rows(Rollup.Period.HOUR).aggregate(newest=Max("starts_at"))["newest"]
    return newest + HOUR if newest else None


def days_until() -> datetime | None:
    """The end of the newest day that was merged."""
    newest = _rows(Rollup.Period.DAY).aggregate(newest=Max("starts_at"))["newest"]
    return day_after(newest) if newest else None


def hours_with_turns(since: datetime, until: datetime) -> Iterator[datetime]:
    """Of that time, in order; one query for each, and none for the empty ones between them."""
    turns = Turn.objects.order_by("started_at").values_list("started_at", flat=True)
    while first := turns.filter(started_at__gte=since, started_at__lt=until).first():
        hour = hour_of(first)
        yield hour
        since = hour + HOUR


def _rows(period: str) -> RollupQuerySet:
    return Rollup.objects.of_all().filter(period=period)


# -- what is out of date ---------------------------------------------------------------------------


def _stale_hours(now: datetime) -> Iterator[datetime]:
    """Hours that have changed, then those that are over and not computed, the oldest first."""
    until = hours_until()
    if until is None:
        first = Turn.objects.order_by("started_at").values_list("started_at", flat=True).first()
        until = hour_of(first) if first else open_hour(now)
    else:
        yield from sorted(_changed_hours(now, until))
    yield from hours_with_turns(until, open_hour(now))


def _changed_hours(now: datetime, until: datetime) -> set[datetime]:
    """Those of which a turn has settled, or was rated, since they were computed."""
    oldest = hour_of(now - LATE)
    known = dict(
        _rows(Rollup.Period.HOUR)
        .filter(starts_at__gte=oldest)
        .values_list("starts_at", "computed_at")
    )
    if not known:
        return set()
    since = max(known.values()) - LOOK_BACK
    settled = Turn.objects.filter(ended_at__gte=since, started_at__gte=oldest, started_at__lt=until)
    rated = Feedback.objects.filter(
        updated_at__gte=since, turn__started_at__gte=oldest, turn__started_at__lt=until
    )
    changes: Iterator[tuple[datetime, Any]] = chain(
        settled.order_by().values_list("started_at", "ended_at").iterator(),
        rated.order_by().values_list("turn__started_at", "updated_at").iterator(),
    )
    return {
        hour
        for started_at, changed_at in changes
        # GRACE, for a transaction takes time to be seen, and clocks differ.
        if (hour := hour_of(started_at)) not in known or changed_at > known[hour] - GRACE
    }


def _stale_days(now: datetime) -> Iterator[datetime]:
    """Days that are over and have hours that were computed since, the oldest first."""
    oldest = day_of(now - LATE)
    if until := days_until():
        oldest = min(oldest, until)
        hours = _rows(Rollup.Period.HOUR).filter(starts_at__gte=oldest)
    else:
        hours = _rows(Rollup.Period.HOUR)
    over = day_of(open_hour(now))
    computed: dict[datetime, datetime] = {}
    for starts_at, computed_at in hours.order_by("starts_at").values_list(
        "starts_at", "computed_at"
    ):
        day = day_of(starts_at)
        if day < over:
            computed[day] = max(computed_at, computed.get(day, computed_at))
    known = dict(
        _rows(Rollup.Period.DAY)
        .filter(starts_at__in=computed)
        .values_list("starts_at", "computed_at")
    )
    for day, computed_at in computed.items():
        if day not in known or known[day] < computed_at + GRACE:
            yield day


# -- computing -------------------------------------------------------------------------------------


def compute_hour(hour: datetime, now: datetime) -> bool:
    """Compute the rows of this hour, anew where there are some. Returns whether it did.

    ``now`` is the moment that they are to tell of: not after the call.

    An hour is left as it is when it has fewer turns than it had: some are gone, and their figures
    are to stay.
    """
    tallies = tally(Turn.objects.filter(started_at__gte=hour, started_at__lt=hour + HOUR))
    return _keep(Rollup.Period.HOUR, hour, tallies, now)


def compute_day(day: datetime, now: datetime) -> bool:
    """Merge the rows of this day from those of its hours. Returns whether there were any."""
    hours = Rollup.objects.filter(
        period=Rollup.Period.HOUR, starts_at__gte=day, starts_at__lt=day_after(day)
    )
    merged = merge(hours)
    if not merged:
        return False
    counts = {key: each.turns for key, each in merged.items()}
    kept = (ALL, *most(counts, dict.fromkeys(COLUMNS, DAY_LIMIT)))
    return _keep(Rollup.Period.DAY, day, {key: merged[key] for key in kept}, now)


def tally(turns: TurnQuerySet, limits: Mapping[str, int] = LIMITS) -> dict[Key, Tally]:
    """What these turns come to: all of them, and those of the models, locales and users with most.

    Two queries. The memory that it takes does not grow with the turns.
    """
    tallies = {key: Tally() for key in (ALL, *most(counts_of(turns), limits))}
    rows = turns.order_by().values_list(*Row._fields)
    for row in map(Row._make, rows.iterator()):
        for dimension in ("", *COLUMNS):
            if found := tallies.get((dimension, row.value_of(dimension))):
                found.add(row)
    return tallies


def merge(rollups: RollupQuerySet) -> dict[Key, Tally]:
    """What these rollups come to together, by dimension and value. One query."""
    merged: dict[Key, Tally] = {}
    for columns in rollups.order_by().values("dimension", "value", *CONTENTS).iterator():
        key = columns["dimension"], columns["value"]
        merged.setdefault(key, Tally()).merge_columns(columns)
    return merged


def counts_of(turns: TurnQuerySet) -> Counter[Key]:
    """How many turns each model, locale and user has. One query."""
    counts: Counter[Key] = Counter()
    grouped = turns.order_by().values_list(*COLUMNS.values()).annotate(Count("pk"))
    for *values, count in grouped.iterator():
        for key in zip(COLUMNS, values, strict=True):
            counts[key] += count
    return counts


def most(counts: Mapping[Key, int], limits: Mapping[str, int]) -> list[Key]:
    """Of each dimension the values with the most turns, in this order."""
    ordered = sorted(counts, key=lambda key: (-counts[key], key))
    return [
        key
        for dimension, limit in limits.items()
        for key in islice((key for key in ordered if key[0] == dimension), limit)
    ]


def _keep(
    period: str, starts_at: datetime, tallies: Mapping[Key, Tally], computed_at: datetime
) -> bool:
    """Write the rows of an hour or a day, unless those that are there tell of more turns."""
    rows = Rollup.objects.filter(period=period, starts_at=starts_at)
    before = rows.of_all().values_list("turns", flat=True).first() or 0
    if tallies[ALL].turns < max(1, before):
        return False
    with transaction.atomic():
        Rollup.objects.bulk_create(
            (
                Rollup(
                    period=period,
                    starts_at=starts_at,
                    dimension=dimension,
                    value=value,
                    computed_at=computed_at,
                    **tallies[dimension, value].columns(),
                )
                # All processes in the same order, or they might wait for each other's rows.
                for dimension, value in sorted(tallies)
            ),
            update_conflicts=True,
            unique_fields=("period", "dimension", "starts_at", "value"),
            update_fields=(*CONTENTS, "computed_at"),
        )
        # Who is no longer among those with the most turns.
        rows.filter(computed_at__lt=computed_at).delete()
    return True

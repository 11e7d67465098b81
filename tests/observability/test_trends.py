"""Trends: rollups and live turns together tell what the turns themselves would."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from django.test.utils import override_settings
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from observability import rollups, trends
from observability.models import Rollup, Turn
from observability.tallies import FENCE_TURNS
from observability.trends import Range, Trend
from tests.factories import make_turn

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 30, 14, 25, tzinfo=UTC)
"""A day after the clocks of Europe changed."""
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "BUDGET_SECONDS", 60)


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/Santiago", "Asia/Kolkata"])
def zone(request: pytest.FixtureRequest) -> Iterator[ZoneInfo]:
    with override_settings(TIME_ZONE=request.param):
        yield ZoneInfo(request.param)


def many_turns(count: int, *, days: float = 100) -> list[Turn]:
    """Spread at random over the days before now, of some models, locales and users."""
    rng = np.random.default_rng()
    return Turn.objects.bulk_create(
        Turn(
            started_at=NOW - days * DAY * float(rng.random()),
            status=Turn.Status.FAILED if rng.random() < 0.1 else Turn.Status.COMPLETED,
            model=("", "gpt-a", "gpt-b")[int(rng.integers(3))],
            locale=("de", "en")[int(rng.integers(2))],
            owner_key=f"user:{int(rng.integers(5))}",
            ttft_ms=int(rng.lognormal(6, 1)),
            total_ms=int(rng.lognormal(8, 1)),
            input_tokens=int(rng.integers(1000)),
            cost_usd=Decimal(int(rng.integers(1000))) / 1000,
            feedback=("", "positive", "negative")[int(rng.integers(3))],
        )
        for _ in range(count)
    )


def assert_right(trend: Trend, turns: list[Turn]) -> None:
    """What a trend tells is what these turns come to."""
    turns = [turn for turn in turns if turn.started_at >= trend.since]
    total = trend.total
    assert total.turns == len(turns)
    assert total.errors == sum(turn.is_error for turn in turns)
    assert total.input_tokens == sum(turn.input_tokens or 0 for turn in turns)
    assert (total.cost_usd or 0) == sum(turn.cost_usd or Decimal(0) for turn in turns)
    assert total.positive == sum(turn.feedback == "positive" for turn in turns)
    if turns:
        exact = np.quantile([turn.ttft_ms or 0 for turn in turns], (0.5, 0.95, 0.99))
        told = [total.ttft.p50, total.ttft.p95, total.ttft.p99]
        assert told == pytest.approx(exact.tolist(), rel=0.02)
    ends = [bar.starts_at for bar in trend.bars[1:]] + [trend.until]
    for bar, end in zip(trend.bars, ends, strict=True):
        within = [turn for turn in turns if bar.starts_at <= turn.started_at < end]
        assert bar.figures.turns == len(within), bar.starts_at
    for dimension, shares in trend.by.items():
        assert sum(share.figures.turns for share in shares) == len(turns), dimension
        counts = [share.figures.turns for share in shares]
        assert counts == sorted(counts, reverse=True)


def test_a_range_tells_what_its_turns_come_to(zone: ZoneInfo) -> None:
    turns = many_turns(300) + many_turns(60, days=0.1)
    rollups.roll_up(NOW)
    for of in Range:
        # Elsewhere some days begin in the middle of an hour; see the test of their edges.
        if zone.key != "Asia/Kolkata" or of in (Range.HOUR, Range.DAY):
            assert_right(trends.trend(of, NOW), turns)


def test_where_days_begin_within_an_hour_a_turn_is_at_most_that_far_off() -> None:
    with override_settings(TIME_ZONE="Asia/Kolkata"):
        turns = many_turns(300)
        rollups.roll_up(NOW)
        told = trends.trend(Range.MONTH, NOW)
    earliest, latest = told.since - HOUR, told.since + HOUR
    counts = [sum(turn.started_at >= since for turn in turns) for since in (latest, earliest)]
    assert counts[0] <= told.total.turns <= counts[1]


def test_without_a_worker_the_last_two_days_are_read_from_the_turns() -> None:
    turns = many_turns(200, days=1.5)
    for of in Range:
        assert_right(trends.trend(of, NOW), turns)
    assert Rollup.objects.count() == 0


def test_what_no_worker_has_summed_up_is_told_to_be_missing() -> None:
    old = make_turn(started_at=NOW - 10 * DAY)
    rollups.roll_up(NOW - 9 * DAY)
    make_turn(started_at=NOW - 5 * DAY)
    told = trends.trend(Range.MONTH, NOW)
    assert told.total.turns == 1
    assert told.gap is not None
    assert told.gap[0] <= NOW - 5 * DAY < told.gap[1]
    assert told.gap[0] > old.started_at
    rollups.roll_up(NOW)
    told = trends.trend(Range.MONTH, NOW)
    assert (told.total.turns, told.gap) == (2, None)


def test_an_hour_without_a_rollup_yet_is_read_from_its_turns() -> None:
    rolled = NOW.replace(minute=3)
    make_turn(started_at=NOW - 2 * HOUR)
    rollups.roll_up(rolled - HOUR)
    make_turn(started_at=NOW - HOUR)
    told = trends.trend(Range.DAY, NOW)
    assert [bar.figures.turns for bar in told.bars[-3:]] == [1, 1, 0]


def test_turns_that_are_gone_are_still_told() -> None:
    many_turns(100, days=80)
    make_turn(started_at=NOW)
    rollups.roll_up(NOW)
    before = trends.trend(Range.QUARTER, NOW).total
    Turn.objects.filter(started_at__lt=rollups.open_hour(NOW)).delete()
    assert trends.trend(Range.QUARTER, NOW).total == before


def test_bars_begin_at_round_times_of_the_clock(zone: ZoneInfo) -> None:
    for of, count in ((Range.HOUR, 12), (Range.DAY, 24), (Range.MONTH, 30), (Range.QUARTER, 13)):
        marks = trends.starts(of, NOW)
        assert len(marks) == count
        assert marks == sorted(set(marks))
        assert marks[-1] <= NOW
    assert {mark.minute % 5 for mark in trends.starts(Range.HOUR, NOW)} == {0}
    for mark in trends.starts(Range.MONTH, NOW):
        assert f"{mark.astimezone(zone):%H:%M}" == "00:00"
    for mark in trends.starts(Range.WEEK, NOW):
        assert mark.astimezone(zone).hour % 6 == 0


def test_hours_are_hours_on_the_day_on_which_the_clocks_change() -> None:
    with timezone.override("Europe/Berlin"):
        marks = trends.starts(Range.DAY, datetime(2026, 3, 29, 12, 30, tzinfo=UTC))
    assert {after - before for before, after in itertools.pairwise(marks)} == {HOUR}


def test_users_are_those_with_the_most_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trends, "LISTED", 2)
    for number, turns in ((1, 1), (2, 3), (3, 2)):
        for back in range(turns):
            make_turn(started_at=NOW - HOUR * back, owner_key=f"user:{number}")
    rollups.roll_up(NOW)
    shares = trends.trend(Range.DAY, NOW).by["user"]
    assert [(share.value, share.figures.turns) for share in shares] == [
        ("user:2", 3),
        ("user:3", 2),
    ]


def test_the_fence_of_outliers_is_tukeys() -> None:
    values = [1_000 + 10 * number for number in range(FENCE_TURNS)] + [9_000]
    for value in values[:-2]:
        make_turn(started_at=NOW, total_ms=value)
    assert trends.trend(Range.DAY, NOW).total.fence_ms is None
    for value in values[-2:]:
        make_turn(started_at=NOW, total_ms=value)
    first, third = np.quantile(values, (0.25, 0.75))
    fence = trends.trend(Range.DAY, NOW).total.fence_ms
    assert fence == pytest.approx(third + 3 * (third - first), rel=0.05)


def test_the_slowest_are_known_by_what_they_took_at_least() -> None:
    turns = many_turns(100, days=20)
    rollups.roll_up(NOW)
    told = trends.trend(Range.MONTH, NOW)
    tenth = sorted((turn.total_ms or 0 for turn in turns), reverse=True)[trends.LISTED - 1]
    assert 0.95 * tenth <= told.at_least_ms <= tenth
    few = trends.trend(Range.HOUR, NOW)
    assert few.at_least_ms == 0 or few.total.turns >= trends.LISTED


@pytest.mark.parametrize(
    ("of", "queries"),
    # The newest hour and day, the bars, the turns by dimension, theirs and ours, and the turns.
    [(Range.HOUR, 4), (Range.DAY, 7), (Range.WEEK, 7), (Range.QUARTER, 7)],
)
def test_it_takes_as_many_queries_for_many_turns_as_for_few(
    of: Range, queries: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for back in (0 * HOUR, 2 * HOUR, 3 * DAY):
        make_turn(started_at=NOW - back)
    for count in (5, 100):
        many_turns(count)
        rollups.roll_up(NOW)
        with django_assert_num_queries(queries):
            trends.trend(of, NOW)


def test_the_last_minutes_and_the_last_hour_are_told_from_the_turns_themselves(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for minutes, ttft_ms in ((4, 100), (6, 300), (59, 500), (61, 9_000)):
        make_turn(started_at=NOW - timedelta(minutes=minutes), ttft_ms=ttft_ms)
    spans = (timedelta(minutes=5), timedelta(minutes=60))
    with django_assert_num_queries(1):
        five, sixty = trends.lately(spans, NOW)
    assert (five.turns, sixty.turns) == (1, 3)
    assert five.ttft.p50 == pytest.approx(100, rel=0.01)
    assert sixty.ttft.p50 == pytest.approx(300, rel=0.01)


def test_an_error_counts_among_settled_turns_and_a_cancelled_turn_is_none() -> None:
    statuses = ["completed", "completed", "cancelled", "failed", "interrupted", "running"]
    for status in statuses:
        make_turn(status=status, started_at=NOW)
    (figures,) = trends.lately([DAY], NOW)
    assert (figures.turns, figures.settled, figures.errors, figures.cancelled) == (6, 5, 2, 1)
    assert figures.error_rate == pytest.approx(0.4)


def test_there_is_no_error_rate_before_a_turn_has_settled() -> None:
    make_turn(status="running", started_at=NOW)
    (figures,) = trends.lately([DAY], NOW)
    assert (figures.turns, figures.error_rate, figures.cost_usd) == (1, None, None)

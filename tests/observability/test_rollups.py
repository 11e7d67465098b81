"""Rollups: computed by whom it may, kept when the turns are gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from django.test.utils import override_settings
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from observability import rollups, worker
from observability.models import Feedback, Rollup, Turn
from observability.tallies import Figures, Tally
from tests.factories import make_turn

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 10, 14, 25, tzinfo=UTC)
HOUR = timedelta(hours=1)
ONE_O_CLOCK = datetime(2026, 3, 10, 13, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "BUDGET_SECONDS", 60)


@pytest.fixture
def berlin() -> Iterator[ZoneInfo]:
    with override_settings(TIME_ZONE="Europe/Berlin"):
        yield ZoneInfo("Europe/Berlin")


def turn_at(started_at: datetime, **fields: Any) -> Turn:
    return make_turn("", "", started_at=started_at, **fields)


def figures_of(row: Rollup) -> Figures:
    tally = Tally()
    tally.merge_columns(vars(row))
    return tally.figures()


def rows(period: str = "hour", dimension: str = "") -> dict[tuple[datetime, str], int]:
    """How many turns each row tells of."""
    found = Rollup.objects.filter(period=period, dimension=dimension).order_by("starts_at", "value")
    return {(row.starts_at, row.value): row.turns for row in found}


def hours() -> dict[datetime, int]:
    return {starts_at: turns for (starts_at, _), turns in rows().items()}


def days() -> dict[datetime, int]:
    return {starts_at: turns for (starts_at, _), turns in rows("day").items()}


def test_an_hour_tells_all_that_its_turns_came_to() -> None:
    turn_at(ONE_O_CLOCK, ttft_ms=100, input_tokens=5, cost_usd=Decimal("0.5"), feedback="positive")
    turn_at(ONE_O_CLOCK, status=Turn.Status.FAILED, ttft_ms=None, output_tokens=7)
    turn_at(ONE_O_CLOCK, status=Turn.Status.CANCELLED, reasoning_tokens=3, cached_tokens=2)
    turn_at(ONE_O_CLOCK + timedelta(minutes=59, seconds=59), status=Turn.Status.RUNNING)
    turn_at(ONE_O_CLOCK - timedelta(microseconds=1))
    turn_at(ONE_O_CLOCK + HOUR)
    rollups.roll_up(NOW)
    row = Rollup.objects.of_all().get(starts_at=ONE_O_CLOCK, period="hour")
    assert (row.turns, row.settled, row.errors, row.cancelled) == (4, 3, 1, 1)
    assert (row.input_tokens, row.cached_tokens, row.output_tokens) == (5, 2, 7)
    assert (row.reasoning_tokens, row.cost_usd, row.priced) == (3, Decimal("0.5"), 1)
    assert (row.positive, row.negative) == (1, 0)
    assert row.computed_at == NOW
    figures = figures_of(row)
    assert figures.ttft.p50 == pytest.approx(250, rel=0.02)


def test_it_is_told_apart_by_model_locale_and_user() -> None:
    turn_at(ONE_O_CLOCK, model="a", locale="de", owner_key="user:1")
    turn_at(ONE_O_CLOCK, model="a", locale="en", owner_key="user:2")
    turn_at(ONE_O_CLOCK, model="", locale="en", owner_key="user:2")
    rollups.roll_up(NOW)
    assert rows(dimension="model") == {(ONE_O_CLOCK, ""): 1, (ONE_O_CLOCK, "a"): 2}
    assert rows(dimension="locale") == {(ONE_O_CLOCK, "de"): 1, (ONE_O_CLOCK, "en"): 2}
    assert rows(dimension="user") == {(ONE_O_CLOCK, "user:1"): 1, (ONE_O_CLOCK, "user:2"): 2}


def test_of_an_hour_and_a_day_only_the_users_with_the_most_turns_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(rollups.LIMITS, Rollup.Dimension.USER, 2)
    monkeypatch.setattr(rollups, "DAY_LIMIT", 1)
    for number, turns in ((1, 3), (2, 1), (3, 2)):
        for _ in range(turns):
            turn_at(ONE_O_CLOCK, owner_key=f"user:{number}")
    rollups.roll_up(NOW + timedelta(days=1))
    assert rows(dimension="user") == {(ONE_O_CLOCK, "user:1"): 3, (ONE_O_CLOCK, "user:3"): 2}
    assert [value for _, value in rows("day", "user")] == ["user:1"]
    assert list(days().values()) == [6]


def test_an_hour_is_computed_once_it_is_over_for_every_clock() -> None:
    turn_at(ONE_O_CLOCK)
    turn_at(ONE_O_CLOCK + HOUR)
    assert rollups.roll_up(ONE_O_CLOCK + HOUR + timedelta(minutes=1)) == 0
    assert rollups.roll_up(ONE_O_CLOCK + HOUR + timedelta(minutes=2)) == 1
    assert hours() == {ONE_O_CLOCK: 1}


def test_a_turn_that_ends_after_its_hour_was_computed_is_added() -> None:
    turn = turn_at(ONE_O_CLOCK + timedelta(minutes=59), status=Turn.Status.RUNNING)
    rollups.roll_up(NOW)
    assert Rollup.objects.of_all().get().settled == 0
    later = NOW + timedelta(minutes=30)
    Turn.objects.filter(pk=turn.pk).update(
        status=Turn.Status.FAILED, ended_at=later, total_ms=5_000
    )
    assert rollups.roll_up(later + timedelta(minutes=1)) == 1
    row = Rollup.objects.of_all().get()
    assert (row.settled, row.errors) == (1, 1)
    assert figures_of(row).total.p50 == pytest.approx(5_000, rel=0.02)


def test_feedback_that_comes_days_later_is_added() -> None:
    turn = turn_at(NOW - timedelta(days=5))
    turn_at(NOW - HOUR)
    rollups.roll_up(NOW)
    Turn.objects.filter(pk=turn.pk).update(feedback="negative")
    rated = Feedback.objects.create(turn=turn, kind="negative", first_kind="negative")
    Feedback.objects.filter(pk=rated.pk).update(updated_at=NOW + timedelta(minutes=1))
    rollups.roll_up(NOW + timedelta(minutes=2))
    assert [row.negative for row in Rollup.objects.of_all().order_by("period", "starts_at")] == [
        1,  # The day.
        1,
        0,
    ]


def test_what_has_not_changed_is_not_computed_anew() -> None:
    for back in range(1, 6):
        turn_at(NOW - HOUR * back)
    assert rollups.roll_up(NOW) == 5
    assert rollups.roll_up(NOW + timedelta(minutes=1)) == 0


def test_an_hour_that_is_older_than_a_week_is_not_computed_anew() -> None:
    old, young = turn_at(NOW - timedelta(days=8)), turn_at(NOW - timedelta(days=6))
    rollups.roll_up(NOW)
    later = NOW + timedelta(minutes=5)
    Turn.objects.update(ended_at=later, status=Turn.Status.FAILED)
    assert rollups.roll_up(later) == 1
    errors = dict(Rollup.objects.of_all().filter(period="hour").values_list("starts_at", "errors"))
    assert errors == {rollups.hour_of(old.started_at): 0, rollups.hour_of(young.started_at): 1}


def test_turns_that_are_gone_are_still_told() -> None:
    turns = [turn_at(ONE_O_CLOCK + timedelta(minutes=minute)) for minute in range(3)]
    rollups.roll_up(NOW)
    Turn.objects.filter(pk=turns[0].pk).delete()
    Turn.objects.update(ended_at=NOW)
    rollups.roll_up(NOW + timedelta(minutes=5))
    assert hours() == {ONE_O_CLOCK: 3}
    Turn.objects.all().delete()
    assert rollups.compute_hour(ONE_O_CLOCK, NOW) is False
    assert hours() == {ONE_O_CLOCK: 3}


def test_a_short_call_leaves_the_rest_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "BUDGET_SECONDS", 0)
    for back in (50, 26, 25):
        turn_at(NOW - HOUR * back)
    counts = []
    for minute in range(3):
        assert rollups.roll_up(NOW + timedelta(minutes=minute)) == 1
        counts.append(len(hours()))
    assert counts == [1, 2, 3]
    # A day is merged when all its hours are there, and not before.
    assert days() == {}
    for minute in range(3, 9):
        rollups.roll_up(NOW + timedelta(minutes=minute))
    assert sum(days().values()) == 3


def test_twice_is_as_good_as_once() -> None:
    for back in range(30, 60):
        turn_at(NOW - HOUR * back, model=str(back % 3))
    rollups.roll_up(NOW)
    told = set(Rollup.objects.values_list("period", "starts_at", "dimension", "value", "turns"))
    for hour in hours():
        rollups.compute_hour(hour, NOW)
    for day in days():
        rollups.compute_day(day, NOW)
    again = Rollup.objects.values_list("period", "starts_at", "dimension", "value", "turns")
    assert sorted(again) == sorted(told)


def test_who_is_no_longer_among_those_with_the_most_turns_has_no_row() -> None:
    turn = turn_at(ONE_O_CLOCK, model="a")
    rollups.roll_up(NOW)
    later = NOW + timedelta(minutes=1)
    Turn.objects.filter(pk=turn.pk).update(model="b", ended_at=later)
    rollups.roll_up(later)
    assert [value for _, value in rows(dimension="model")] == ["b"]


def test_a_day_is_the_sum_of_its_hours_within_two_percent_of_exact() -> None:
    day = rollups.day_of(NOW) - timedelta(days=1)
    values = np.random.default_rng().lognormal(7, 1, 400).astype(int)
    Turn.objects.bulk_create(
        Turn(
            started_at=day + timedelta(minutes=3.6 * number),
            status=Turn.Status.COMPLETED,
            ttft_ms=int(value),
        )
        for number, value in enumerate(values)
    )
    rollups.roll_up(NOW)
    row = Rollup.objects.of_all().get(period="day")
    assert (row.starts_at, row.turns) == (day, 400)
    ttft = figures_of(row).ttft
    assert [ttft.p50, ttft.p95, ttft.p99] == pytest.approx(
        np.quantile(values, (0.5, 0.95, 0.99)).tolist(), rel=0.02
    )


def test_a_day_is_one_of_the_sites_time_zone(berlin: ZoneInfo) -> None:
    turn_at(datetime(2026, 3, 8, 22, 59, tzinfo=UTC))  # The 8th there.
    turn_at(datetime(2026, 3, 8, 23, 0, tzinfo=UTC))  # Midnight of the 9th.
    turn_at(datetime(2026, 3, 9, 22, 59, tzinfo=UTC))
    turn_at(datetime(2026, 3, 9, 23, 0, tzinfo=UTC))  # The 10th, which is not over.
    rollups.roll_up(NOW)
    assert {
        timezone.localtime(day, berlin).isoformat(): turns for day, turns in days().items()
    } == {
        "2026-03-08T00:00:00+01:00": 1,
        "2026-03-09T00:00:00+01:00": 2,
    }


@pytest.mark.parametrize(
    ("date", "length"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)]
)
def test_a_day_on_which_the_clocks_change_has_all_its_hours(
    berlin: ZoneInfo, date: str, length: int
) -> None:
    midnight = datetime.fromisoformat(date).replace(tzinfo=berlin).astimezone(UTC)
    assert rollups.day_after(midnight) - midnight == HOUR * length
    for hour in range(-1, length + 1):
        turn_at(midnight + HOUR * hour)
    rollups.roll_up(midnight + timedelta(days=3))
    assert days()[midnight] == length
    assert sum(days().values()) == length + 2


def test_where_the_zone_is_off_by_half_an_hour_no_turn_is_lost() -> None:
    with override_settings(TIME_ZONE="Asia/Kolkata"):
        for hour in range(72):
            turn_at(NOW - timedelta(days=6) + HOUR * hour)
        rollups.roll_up(NOW)
        assert sum(days().values()) == 72
        assert max(days().values()) == 24


def test_a_day_is_merged_anew_when_one_of_its_hours_was_computed_anew() -> None:
    turn = turn_at(NOW - timedelta(days=2), status=Turn.Status.RUNNING)
    rollups.roll_up(NOW)
    later = NOW + timedelta(minutes=10)
    Turn.objects.filter(pk=turn.pk).update(status=Turn.Status.COMPLETED, ended_at=later)
    rollups.roll_up(later)
    assert Rollup.objects.of_all().get(period="day").settled == 1


def test_what_a_slower_process_has_missed_is_seen_by_the_next_call() -> None:
    turn = turn_at(ONE_O_CLOCK, status=Turn.Status.RUNNING)
    # It read the turns before this one ended, and writes after another has seen its end.
    missed = rollups.tally(Turn.objects.all())
    ended_at = NOW + timedelta(seconds=10)
    Turn.objects.filter(pk=turn.pk).update(status=Turn.Status.COMPLETED, ended_at=ended_at)
    rollups.roll_up(NOW + timedelta(seconds=20))
    rollups._keep("hour", ONE_O_CLOCK, missed, NOW)
    assert Rollup.objects.of_all().get().settled == 0
    rollups.roll_up(NOW + timedelta(minutes=1))
    assert Rollup.objects.of_all().get().settled == 1


def test_with_nothing_to_do_it_asks_little(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for back in range(1, 40):
        turn_at(NOW - HOUR * back)
    rollups.roll_up(NOW)
    rollups.roll_up(NOW + timedelta(minutes=5))
    # The newest hour and day; hours, turns and ratings that may have changed; the next turn; hours
    # and days to compare.
    with django_assert_num_queries(8):
        rollups.roll_up(NOW + timedelta(minutes=10))


def test_the_workers_of_all_processes_do_it() -> None:
    assert worker.Chore(rollups.INTERVAL, rollups.roll_up) in worker._chores

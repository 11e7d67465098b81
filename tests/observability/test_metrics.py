"""Rates and percentiles from stored turns."""

from __future__ import annotations

import itertools
import random
import statistics
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from observability import metrics
from observability.metrics import Sample
from observability.models import Delivery, Turn
from tests.factories import make_delivery, make_turn

NOW = datetime(2026, 3, 10, 14, 25, tzinfo=UTC)


def sample(status: str = "completed", *, at: datetime = NOW, ttft_ms: int | None = None) -> Sample:
    return Sample(at, status, ttft_ms, None)


@pytest.mark.parametrize("size", [2, 3, 10, 999])
def test_percentiles_are_those_of_the_standard_library(size: int) -> None:
    values = sorted(random.choices(range(100_000), k=size))  # noqa: S311 (any numbers will do)
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    for percent in (50, 95, 99):
        assert metrics.percentile(values, percent / 100) == pytest.approx(cuts[percent - 1])


def test_the_percentiles_of_one_value_are_that_value() -> None:
    assert metrics.Percentiles.of([None, 7]) == metrics.Percentiles(p50=7, p95=7, p99=7)


def test_no_values_have_no_percentiles() -> None:
    assert metrics.Percentiles.of([None, None]) == metrics.Percentiles(p50=None, p95=None, p99=None)


def test_the_error_rate_is_of_settled_turns_and_a_cancelled_turn_is_no_error() -> None:
    statuses = ["completed", "completed", "cancelled", "failed", "interrupted", "running"]
    figures = metrics.figures(map(sample, statuses))
    assert (figures.turns, figures.settled, figures.errors) == (6, 5, 2)
    assert figures.error_rate == pytest.approx(0.4)


def test_there_is_no_error_rate_before_a_turn_has_settled() -> None:
    assert metrics.figures([sample("running")]).error_rate is None


def test_figures_ignore_the_times_that_are_unknown() -> None:
    figures = metrics.figures([sample(ttft_ms=100), sample(ttft_ms=None), sample(ttft_ms=300)])
    assert figures.ttft.p50 == 200


def test_hours_are_those_of_the_clock_in_the_operators_time_zone() -> None:
    with timezone.override("Asia/Kolkata"):  # Half an hour off the hours of UTC.
        hours = metrics.by_hour(
            [
                sample(at=NOW),  # 19:55 there
                sample(at=NOW - timedelta(minutes=56)),  # 18:59
                sample("failed", at=NOW - timedelta(minutes=55)),  # 19:00
            ],
            NOW,
        )
        assert [timezone.localtime(hour.starts_at).strftime("%H:%M") for hour in hours[-2:]] == [
            "18:00",
            "19:00",
        ]
    assert [hour.figures.turns for hour in hours[-2:]] == [1, 2]
    assert [hour.figures.errors for hour in hours[-2:]] == [0, 1]
    assert sum(hour.figures.turns for hour in hours) == 3


def test_a_day_on_which_the_clocks_change_has_24_hours_of_an_hour() -> None:
    with timezone.override("Europe/Berlin"):
        hours = metrics.by_hour([], datetime(2026, 3, 29, 12, 30, tzinfo=UTC))
    starts = [hour.starts_at.timestamp() for hour in hours]
    assert len(starts) == 24
    assert {after - before for before, after in itertools.pairwise(starts)} == {3600}


def test_what_is_older_than_the_hours_is_in_none_of_them() -> None:
    hours = metrics.by_hour([sample(at=NOW - timedelta(hours=24))], NOW)
    assert not any(hour.figures.turns for hour in hours)


@pytest.mark.django_db
def test_samples_are_of_the_turns_since_then() -> None:
    make_turn(age=timedelta(minutes=30), ttft_ms=120, duration_ms=800)
    make_turn(age=timedelta(minutes=61))
    (only,) = metrics.samples(timezone.now() - timedelta(hours=1))
    assert (only.status, only.ttft_ms, only.duration_ms) == ("completed", 120, 800)


@pytest.mark.django_db
def test_running_turns_past_their_lease_are_orphaned() -> None:
    make_turn(status=Turn.Status.RUNNING)
    make_turn(status=Turn.Status.RUNNING, lease_expires_at=timezone.now() - timedelta(seconds=5))
    make_turn()
    assert metrics.running() == metrics.Running(turns=2, orphaned=1)


@pytest.mark.django_db
def test_the_outbox_says_what_waits_what_was_given_up_and_what_got_through() -> None:
    now = timezone.now()
    oldest = now - timedelta(minutes=20)
    make_delivery(created_at=oldest)
    make_delivery(state=Delivery.State.LEASED, created_at=now)
    make_delivery(state=Delivery.State.DEAD, settled_at=now - timedelta(hours=2))
    make_delivery(state=Delivery.State.DEAD, settled_at=now - timedelta(days=2))
    make_delivery(state=Delivery.State.DELIVERED, settled_at=now - timedelta(minutes=3))
    make_delivery(state=Delivery.State.DELIVERED, settled_at=now - timedelta(minutes=9))
    assert metrics.outbox(now - timedelta(days=1)) == metrics.Outbox(
        waiting=2,
        oldest_at=oldest,
        dead=2,
        dead_lately=1,
        last_delivered_at=now - timedelta(minutes=3),
    )


@pytest.mark.django_db
def test_an_empty_outbox_has_no_age() -> None:
    assert metrics.outbox(NOW) == metrics.Outbox(
        waiting=0, oldest_at=None, dead=0, dead_lately=0, last_delivered_at=None
    )


@pytest.mark.django_db
def test_a_brief_turn_brings_the_beginnings_of_its_texts_only() -> None:
    make_turn(prompt="p" * 10_000, response="r" * 10_000, error_message="e" * 10_000)
    turn = metrics.brief(Turn.objects.all()).get()
    assert turn.get_deferred_fields() == {"prompt", "response", "error_message"}
    assert turn.prompt_start == "p" * metrics.BEGINNING  # type: ignore[attr-defined]
    assert turn.error_start == "e" * metrics.BEGINNING  # type: ignore[attr-defined]


@pytest.mark.django_db
def test_the_slowest_turns_come_slowest_first_and_unmeasured_ones_not_at_all() -> None:
    make_turn("quick", total_ms=10)
    make_turn("slow", total_ms=9_000)
    make_turn("unmeasured", total_ms=None)
    make_turn("old and slow", total_ms=99_000, age=timedelta(days=3))
    turns = metrics.slowest(timezone.now() - timedelta(days=1), 10)
    assert [turn.prompt for turn in turns] == ["slow", "quick"]


@pytest.mark.django_db
def test_failed_turns_are_those_that_failed_or_were_interrupted_newest_first() -> None:
    make_turn("fine")
    make_turn("stopped", status=Turn.Status.CANCELLED)
    make_turn("failed", status=Turn.Status.FAILED, age=timedelta(minutes=9))
    make_turn("interrupted", status=Turn.Status.INTERRUPTED, age=timedelta(minutes=3))
    turns = metrics.failed(timezone.now() - timedelta(days=1), 10)
    assert [turn.prompt for turn in turns] == ["interrupted", "failed"]
    assert len(metrics.failed(timezone.now() - timedelta(days=1), 1)) == 1

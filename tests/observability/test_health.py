"""The verdict on the chat's health."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from observability.health import Health, Situation, Verdict, judge
from observability.metrics import Outbox, Running
from observability.tallies import Figures, Percentiles

NOW = datetime(2026, 3, 10, 14, 25, tzinfo=UTC)
UNKNOWN = Percentiles()


def figures(settled: int = 0, errors: int = 0, *, ttft: Percentiles = UNKNOWN) -> Figures:
    return Figures(turns=settled, settled=settled, errors=errors, ttft=ttft)


def verdict(*, forwards: bool = True, orphaned: int = 0, **changes: Any) -> Verdict:
    outbox: dict[str, Any] = {
        "waiting": 0,
        "oldest_at": None,
        "dead": 0,
        "dead_lately": 0,
        "last_delivered_at": None,
    }
    hour = changes.pop("hour", figures(100))
    return judge(
        Situation(
            hour=hour,
            day=changes.pop("day", hour),
            running=Running(turns=orphaned, orphaned=orphaned),
            outbox=Outbox(**outbox | changes),
            forwards=forwards,
            now=NOW,
        )
    )


def test_a_chat_without_errors_is_healthy_and_says_by_what_it_was_judged() -> None:
    result = verdict(hour=figures(1000, 3, ttft=Percentiles(p50=640, p95=2000, p99=3000)))
    assert result == Verdict(
        health=Health.GOOD,
        reasons=(
            "1,000 turns in the last hour, 0.3% with an error.",
            "Half of the visitors saw the first word within 640 ms.",
        ),
    )


def test_some_errors_need_a_look() -> None:
    result = verdict(hour=figures(40, 2))
    assert result.health == Health.WORRYING
    assert result.reasons == ("2 of 40 turns in the last hour ended in an error: 5.0%.",)


def test_many_errors_are_a_failing_chat() -> None:
    assert verdict(hour=figures(10, 5)).health == Health.FAILING


def test_one_error_in_a_quiet_hour_is_no_outage() -> None:
    assert verdict(hour=figures(2, 1)).health == Health.WORRYING


def test_a_quiet_hour_is_judged_by_the_day() -> None:
    result = verdict(hour=figures(0), day=figures(20, 10))
    assert result.health == Health.FAILING
    assert "in the last 24 hours" in result.reasons[0]


def test_the_last_hour_counts_and_not_the_trouble_before_it() -> None:
    assert verdict(hour=figures(50), day=figures(100, 50)).health == Health.GOOD


def test_without_a_turn_there_is_nothing_to_judge_by() -> None:
    result = verdict(hour=figures())
    assert result.health == Health.QUIET
    assert result.reasons == ("No turn has ended in the last 24 hours.",)


def test_slow_first_words_need_a_look_once_there_are_enough_of_them() -> None:
    slow = Percentiles(p50=900, p95=12_000, p99=20_000)
    assert verdict(hour=figures(4, ttft=slow)).health == Health.GOOD
    result = verdict(hour=figures(5, ttft=slow))
    assert result.health == Health.WORRYING
    assert result.reasons == (
        "One visitor in twenty waited 12.0 s or longer for the first word in the last hour.",
    )


def test_turns_without_a_process_need_a_look() -> None:
    result = verdict(orphaned=2)
    assert result.health == Health.WORRYING
    assert "2 running turns were left behind" in result.reasons[0]


@pytest.mark.parametrize(("minutes", "health"), [(14, Health.GOOD), (16, Health.WORRYING)])
def test_a_delivery_that_waits_too_long_needs_a_look(minutes: int, health: Health) -> None:
    result = verdict(waiting=3, oldest_at=NOW - timedelta(minutes=minutes))
    assert result.health == health


def test_waiting_deliveries_are_told_with_their_age_and_with_why_nothing_sends_them() -> None:
    result = verdict(forwards=False, waiting=3, oldest_at=NOW - timedelta(hours=3))
    assert [reason.replace("\xa0", " ") for reason in result.reasons] == [
        "3 deliveries are waiting to be sent, the oldest for 3 hours.",
        "Forwarding is off: no key of a collector is set.",
    ]


def test_only_what_was_given_up_lately_is_news() -> None:
    assert verdict(dead=5).health == Health.GOOD
    result = verdict(dead=5, dead_lately=1)
    assert result.health == Health.WORRYING
    assert result.reasons == ("1 delivery was given up in the last 24 hours.",)


def test_what_else_is_wrong_is_told_of_a_failing_chat_too() -> None:
    result = verdict(hour=figures(10, 5), dead_lately=1)
    assert result.health == Health.FAILING
    assert len(result.reasons) == 2

"""The state of the chat right now, and which turns to look at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from observability import metrics
from observability.models import Delivery, Turn
from tests.factories import make_delivery, make_turn

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 10, 14, 25, tzinfo=UTC)
DAY = timedelta(days=1)


def test_running_turns_past_their_lease_are_orphaned() -> None:
    make_turn(status=Turn.Status.RUNNING)
    make_turn(status=Turn.Status.RUNNING, lease_expires_at=timezone.now() - timedelta(seconds=5))
    make_turn()
    assert metrics.running() == metrics.Running(turns=2, orphaned=1)


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


def test_an_empty_outbox_has_no_age() -> None:
    assert metrics.outbox(NOW) == metrics.Outbox(
        waiting=0, oldest_at=None, dead=0, dead_lately=0, last_delivered_at=None
    )


def test_a_brief_turn_brings_the_beginnings_of_its_texts_only() -> None:
    make_turn(prompt="p" * 10_000, response="r" * 10_000, error_message="e" * 10_000)
    turn = metrics.brief(Turn.objects.all()).get()
    assert turn.get_deferred_fields() == {"prompt", "response", "error_message"}
    assert turn.prompt_start == "p" * metrics.BEGINNING  # type: ignore[attr-defined]
    assert turn.error_start == "e" * metrics.BEGINNING  # type: ignore[attr-defined]


def test_the_slowest_turns_come_slowest_first_and_unmeasured_ones_not_at_all() -> None:
    make_turn("quick", total_ms=10)
    make_turn("slow", total_ms=9_000)
    make_turn("unmeasured", total_ms=None)
    make_turn("old and slow", total_ms=99_000, age=timedelta(days=3))
    since = timezone.now() - DAY
    turns = metrics.slowest(since, 10, at_least_ms=0)
    assert [turn.prompt for turn in turns] == ["slow", "quick"]
    assert [turn.prompt for turn in metrics.slowest(since, 10, at_least_ms=5_000)] == ["slow"]


def test_failed_turns_are_those_that_failed_or_were_interrupted_newest_first(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    make_turn("fine")
    make_turn("stopped", status=Turn.Status.CANCELLED)
    make_turn("failed", status=Turn.Status.FAILED, age=timedelta(minutes=9))
    make_turn("interrupted", status=Turn.Status.INTERRUPTED, age=timedelta(minutes=3))
    make_turn("older", status=Turn.Status.FAILED, age=timedelta(minutes=12))
    make_turn("too old", status=Turn.Status.FAILED, age=timedelta(days=2))
    with django_assert_num_queries(2):
        turns = metrics.failed(timezone.now() - DAY, 10)
    assert [turn.total_ms for turn in turns] == [2000] * 3
    prompts = [turn.prompt_start for turn in turns]  # type: ignore[attr-defined]
    assert prompts == ["interrupted", "failed", "older"]
    assert len(metrics.failed(timezone.now() - DAY, 2)) == 2

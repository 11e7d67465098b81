"""What the sweeper learns of a turn whose process died from the conversation itself."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from chatkit.types import AssistantMessageContent, AssistantMessageItem, ThreadItemDoneEvent
from django.db.models.functions import Now
from django.utils import timezone

from chatkit_endpoint.models import Thread, ThreadItem
from observability import turns
from observability.models import Delivery, Turn
from observability.recorder import Identity, TurnRecorder
from tests.factories import make_answer, make_prompt, make_thread

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_process_works_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_live", {})


def a_turn_that_died(thread: Thread) -> TurnRecorder:
    """Begun a minute ago, and its lease is over."""
    recorder = TurnRecorder(
        thread_id=thread.key,
        identity=Identity(owner_key=thread.owner_key),
        received_at=timezone.now() - timedelta(minutes=1),
    )
    turns.open_turn(recorder)
    Turn.objects.filter(trace_id=recorder.trace_id).update(
        lease_expires_at=Now() - timedelta(seconds=1)
    )
    return recorder


def lines(turn: Turn) -> list[tuple[str, str]]:
    return list(turn.messages.order_by("position").values_list("kind", "text"))


def test_what_the_thread_kept_is_told() -> None:
    thread = make_thread()
    recorder = a_turn_that_died(thread)
    make_prompt(thread, "What is the time?")
    make_answer(thread, "Noon.")
    assert turns.sweep() == 1
    turn = Turn.objects.get(trace_id=recorder.trace_id)
    assert turn.status == Turn.Status.INTERRUPTED
    assert lines(turn) == [("prompt", "What is the time?"), ("response", "Noon.")]
    assert turn.response == "Noon."


def test_it_is_forwarded_with_that(settings: object) -> None:
    settings.ANOSYS_API_KEY = "a-key"  # type: ignore[attr-defined]
    thread = make_thread()
    recorder = a_turn_that_died(thread)
    make_answer(thread, "Noon.")
    turns.sweep()
    delivery = Delivery.objects.get()
    assert delivery.event_id == recorder.trace_id
    assert delivery.turn is not None
    assert delivery.turn.response == "Noon."


def test_neither_earlier_nor_later_turns_nor_other_threads_are_mixed_in() -> None:
    thread, other = make_thread(), make_thread()
    make_answer(thread, "Before.")
    ThreadItem.objects.update(created_at=timezone.now() - timedelta(hours=1))
    died = a_turn_that_died(thread)
    item = make_answer(thread, "Then.")
    ThreadItem.objects.filter(pk=item.pk).update(created_at=timezone.now() - timedelta(seconds=40))
    make_answer(other, "Elsewhere.")
    next_turn = TurnRecorder(
        thread_id=thread.key,
        identity=Identity(owner_key=thread.owner_key),
        received_at=timezone.now() - timedelta(seconds=20),
    )
    turns.open_turn(next_turn)
    make_answer(thread, "After.")
    turns.sweep()
    assert lines(Turn.objects.get(trace_id=died.trace_id)) == [("response", "Then.")]


def test_a_purged_turn_stays_without_text() -> None:
    thread = make_thread()
    recorder = a_turn_that_died(thread)
    make_answer(thread, "Noon.")
    Turn.objects.update(text_purged_at=timezone.now())
    turns.sweep()
    turn = Turn.objects.get(trace_id=recorder.trace_id)
    assert (lines(turn), turn.response) == ([], "")


def test_the_truth_replaces_it_where_the_process_comes_back() -> None:
    thread = make_thread()
    recorder = a_turn_that_died(thread)
    make_prompt(thread, "What is the time?")
    make_answer(thread, "Noo")
    turns.sweep()
    recorder.observe(
        ThreadItemDoneEvent(
            item=AssistantMessageItem(
                id="msg_1",
                thread_id=thread.key,
                created_at=timezone.now(),
                content=[AssistantMessageContent(text="Noon.")],
            )
        )
    )
    recorder.finish()
    turns.settle_turn(recorder)
    turn = Turn.objects.get(trace_id=recorder.trace_id)
    assert (turn.status, turn.response) == (Turn.Status.COMPLETED, "Noon.")
    assert lines(turn) == [("response", "Noon.")]


def test_what_cannot_be_read_is_said_by_its_kind_and_the_turn_is_finished(
    caplog: pytest.LogCaptureFixture,
) -> None:
    thread = make_thread()
    recorder = a_turn_that_died(thread)
    item = make_answer(thread, "A secret.")
    ThreadItem.objects.filter(pk=item.pk).update(payload='{"type": "A secret."}')
    with caplog.at_level(logging.ERROR):
        assert turns.sweep() == 1
    turn = Turn.objects.get(trace_id=recorder.trace_id)
    assert (turn.status, lines(turn)) == (Turn.Status.INTERRUPTED, [])
    assert "ValidationError" in caplog.text
    assert "secret" not in caplog.text

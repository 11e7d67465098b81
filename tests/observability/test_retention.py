"""The text of turns goes; their metrics stay."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from chatkit.types import AssistantMessageContent, AssistantMessageItem, ThreadItemDoneEvent
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from observability import outbox, retention, turns
from observability.models import Delivery, Message, Turn, TurnFact
from observability.recorder import Identity, TurnRecorder
from observability.retention import purge_text
from tests.observability.helpers import add_message, make_turn

State = Delivery.State

pytestmark = pytest.mark.django_db(transaction=True)


def make_delivery(turn: Turn, state: str = State.PENDING) -> Delivery:
    lease = (
        {"lease_token": uuid.uuid4(), "lease_expires_at": Now() + timedelta(minutes=1)}
        if state == State.LEASED
        else {}
    )
    return Delivery.objects.create(
        destination="anosys",
        event_id=uuid.uuid4().hex,
        kind=Delivery.Kind.TURN,
        turn=turn,
        state=state,
        **lease,
    )


def running_turn(**fields: object) -> Turn:
    return make_turn(
        status=Turn.Status.RUNNING, ended_at=None, lease_expires_at=timezone.now(), **fields
    )


def texts(turn: Turn) -> list[str]:
    turn.refresh_from_db()
    lines = turn.messages.values_list("text", flat=True)
    return [text for text in (turn.prompt, turn.response, turn.error_message, *lines) if text]


def test_the_text_goes_and_the_metrics_stay() -> None:
    turn = make_turn(error_message="It broke.", error_code="boom", total_ms=2000, input_tokens=7)
    add_message(turn, Message.Kind.THOUGHT, "Hm.")
    TurnFact.objects.create(turn=turn, key="buyer", value="Vera")
    before = timezone.now()
    assert purge_text(Turn.objects.all()) == 1
    assert texts(turn) == []
    assert not Message.objects.exists()
    assert not TurnFact.objects.exists()
    assert turn.text_purged_at is not None
    assert before <= turn.text_purged_at <= timezone.now()
    assert (turn.status, turn.error_code) == (Turn.Status.COMPLETED, "boom")
    assert (turn.total_ms, turn.input_tokens, turn.owner_key) == (2000, 7, "user:7")


def test_other_turns_keep_their_text() -> None:
    going, kept = make_turn(), make_turn()
    add_message(kept, Message.Kind.RESPONSE, "Noon.")
    waiting = make_delivery(kept)
    assert purge_text(Turn.objects.filter(pk=going.pk)) == 1
    assert texts(kept) == ["What is the time?", "Noon.", "Noon."]
    assert kept.text_purged_at is None
    waiting.refresh_from_db()
    assert waiting.state == State.PENDING


def test_a_running_turn_is_never_touched() -> None:
    turn = running_turn()
    add_message(turn, Message.Kind.PROMPT, "What is the time?")
    assert purge_text(Turn.objects.all()) == 0
    assert turn.text_purged_at is None
    assert len(texts(turn)) == 3


def test_an_owner_who_deletes_is_not_kept_waiting_by_a_running_turn() -> None:
    turn = running_turn(response="")
    add_message(turn, Message.Kind.PROMPT, "What is the time?")
    assert purge_text(Turn.objects.all(), even_running=True) == 1
    assert texts(turn) == []
    assert turn.status == Turn.Status.RUNNING
    assert turn.is_text_purged


@pytest.mark.parametrize("was_swept", [False, True])
def test_a_turn_that_settles_after_its_purge_brings_no_text_back(was_swept: bool) -> None:
    """Its owner deleted meanwhile; or it was swept as interrupted, purged, and came back."""
    recorder = TurnRecorder(thread_id="thr_1", identity=Identity(owner_key="user:7"))
    recorder.observe(an_answer("Noon."))
    turns.open_turn(recorder)
    if was_swept:
        Turn.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
        assert turns.sweep() == 1
    assert purge_text(Turn.objects.all(), even_running=True) == 1
    recorder.finish(ValueError("No more."))
    turns.settle_turn(recorder)
    turn = Turn.objects.get()
    assert texts(turn) == []
    assert (turn.status, turn.error_code) == (Turn.Status.FAILED, "ValueError")
    assert turn.total_ms is not None


def an_answer(text: str) -> ThreadItemDoneEvent:
    return ThreadItemDoneEvent(
        item=AssistantMessageItem(
            id="msg_1",
            thread_id="thr_1",
            created_at=timezone.now(),
            content=[AssistantMessageContent(text=text)],
        )
    )


def test_what_was_to_be_sent_is_settled_as_purged() -> None:
    turn = make_turn()
    pending, leased = make_delivery(turn), make_delivery(turn, State.LEASED)
    purge_text(Turn.objects.all())
    for delivery in (pending, leased):
        delivery.refresh_from_db()
        assert delivery.state == State.PURGED
        assert delivery.lease_token is None
        assert delivery.settled_at is not None


def test_a_worker_that_is_sending_it_can_not_settle_it_any_more() -> None:
    turn = make_turn()
    make_delivery(turn)
    [claimed] = outbox.claim(1)
    purge_text(Turn.objects.all())
    assert outbox.delivered([claimed], status=200) == 0
    assert Delivery.objects.get().state == State.PURGED


@pytest.mark.parametrize("state", [State.DELIVERED, State.DEAD])
def test_a_settled_delivery_stays_as_it_is(state: str) -> None:
    delivery = make_delivery(make_turn(), state)
    purge_text(Turn.objects.all())
    delivery.refresh_from_db()
    assert (delivery.state, delivery.settled_at) == (state, None)


def test_a_second_purge_finds_nothing_to_do() -> None:
    turn = make_turn()
    purge_text(Turn.objects.all())
    turn.refresh_from_db()
    purged_at = turn.text_purged_at
    assert purge_text(Turn.objects.all()) == 0
    turn.refresh_from_db()
    assert turn.text_purged_at == purged_at


def test_it_takes_a_slice_and_a_queryset_of_turns_with_text() -> None:
    """What it blanks no longer matches the caller's own condition."""
    made = [make_turn() for _ in range(3)]
    for turn in made:
        add_message(turn, Message.Kind.RESPONSE, "Noon.")
    assert purge_text(Turn.objects.with_text().order_by("pk")[:2]) == 2
    assert [bool(texts(turn)) for turn in made] == [False, False, True]


def test_it_is_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost of any turn when the last statement fails."""
    monkeypatch.setattr(retention, "IDS_AT_ONCE", 1)
    made = [make_turn() for _ in range(2)]
    for turn in made:
        add_message(turn, Message.Kind.RESPONSE, "Noon.")

    def fail_on_last(execute, sql, params, many, context):
        if sql.startswith("UPDATE") and made[-1].pk in params and "prompt" in sql:
            raise KeyboardInterrupt
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail_on_last), pytest.raises(KeyboardInterrupt):
        purge_text(Turn.objects.all())
    assert [len(texts(turn)) for turn in made] == [3, 3]


def test_its_queries_do_not_grow_with_the_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    def queries(count: int) -> int:
        Turn.objects.bulk_create(make_unsaved_turn() for _ in range(count))
        with CaptureQueriesContext(connection) as captured, transaction.atomic():
            assert purge_text(Turn.objects.all()) == count
        return len(captured)

    assert queries(1) == queries(retention.IDS_AT_ONCE)
    # Seven, and those that begin and end transactions; one that locks, where rows can be locked.
    assert queries(1) <= 11 + connection.features.has_select_for_update


def make_unsaved_turn() -> Turn:
    return Turn(status=Turn.Status.COMPLETED, prompt="Hello", started_at=timezone.now())

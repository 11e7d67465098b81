"""Feedback: checked against the store, kept with a change of mind, joined to its turn."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from observability.feedback import record_feedback
from observability.models import Feedback, Message, Turn
from observability.recorder import Identity
from tests.chatkit_endpoint.visitors import Visitor, user_of

from .helpers import add_message, make_turn

OWNER = Identity(owner_key="user:7")


@pytest.mark.django_db
def test_feedback_is_joined_to_the_turn_that_made_the_item() -> None:
    other, turn = make_turn(), make_turn()
    add_message(other, Message.Kind.RESPONSE, "No.", item_id="msg_1")
    add_message(turn, Message.Kind.RESPONSE, "Yes.", item_id="msg_2")
    record_feedback(OWNER, "thr_1", ["msg_2"], "negative")
    kept = Feedback.objects.get()
    assert kept.turn == turn
    assert (kept.owner_key, kept.thread_id, kept.item_id) == ("user:7", "thr_1", "msg_2")
    turn.refresh_from_db()
    other.refresh_from_db()
    assert (turn.feedback, other.feedback) == ("negative", "")


@pytest.mark.django_db
def test_a_change_of_mind_is_one_row_that_tells_both_words() -> None:
    turn = make_turn()
    add_message(turn, Message.Kind.RESPONSE, "Yes.", item_id="msg_1")
    record_feedback(OWNER, "thr_1", ["msg_1"], "positive")
    assert not Feedback.objects.get().has_changed_mind
    record_feedback(OWNER, "thr_1", ["msg_1"], "negative")
    kept = Feedback.objects.get()
    assert (kept.first_kind, kept.kind, kept.has_changed_mind) == ("positive", "negative", True)
    assert kept.updated_at > kept.created_at
    turn.refresh_from_db()
    assert turn.feedback == "negative"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "stranger", [Identity(owner_key="user:8"), Identity(owner_key="user:7", tenant="acme")]
)
def test_feedback_never_reaches_the_turn_of_somebody_else(stranger: Identity) -> None:
    turn = make_turn()
    add_message(turn, Message.Kind.RESPONSE, "Yes.", item_id="msg_1")
    record_feedback(stranger, "thr_1", ["msg_1"], "negative")
    turn.refresh_from_db()
    assert turn.feedback == ""
    assert Feedback.objects.get().turn is None


@pytest.mark.django_db
def test_a_prompt_is_no_answer() -> None:
    turn = make_turn()
    add_message(turn, Message.Kind.PROMPT, "Yes?", item_id="msg_1")
    record_feedback(OWNER, "thr_1", ["msg_1"], "negative")
    assert Feedback.objects.get().turn is None


@pytest.mark.django_db(transaction=True)
async def test_items_of_nobody_or_of_somebody_else_can_not_be_rated() -> None:
    alice = await Visitor().sign_in(await user_of("alice"))
    bob = await Visitor().sign_in(await user_of("bob"))
    answer = await alice.say("Hello")
    thread_id, item_id = answer.thread.id, answer.done[-1].id
    rated = {"thread_id": thread_id, "kind": "positive"}
    foreign = await bob.ask("items.feedback", item_ids=[item_id], **rated)
    missing = await bob.ask(
        "items.feedback", item_ids=[item_id], thread_id="thr_0", kind="positive"
    )
    assert foreign.status == missing.status == 404
    assert foreign.body == missing.body
    assert (await bob.ask("items.feedback", item_ids=[], **rated)).status == 404
    assert (await alice.ask("items.feedback", item_ids=["msg_0"], **rated)).status == 404
    mixed = await alice.ask("items.feedback", item_ids=[item_id, "msg_0"], **rated)
    assert mixed.status == 404
    assert not await Feedback.objects.aexists()

    many = await alice.ask("items.feedback", item_ids=[item_id] * 50, **rated)
    assert many.status == 200
    kept = await Feedback.objects.select_related("turn").aget()
    user = await User.objects.aget(username="alice")
    assert kept.owner_key == f"user:{user.pk}"
    assert kept.turn == await Turn.objects.aget()

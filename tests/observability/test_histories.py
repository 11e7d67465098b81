"""The conversations that turns are part of, read for many turns at once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from observability import histories as module
from observability.histories import histories
from observability.models import Turn
from tests.observability.helpers import STARTED, add_message, make_turn

pytestmark = pytest.mark.django_db


def said_in(thread_id: str, *prompts: str, owner_key: str = "user:1") -> list[Turn]:
    """Turns of a thread, a minute apart, each with a prompt and its answer."""
    turns = []
    for number, prompt in enumerate(prompts):
        turn = make_turn(
            thread_id=thread_id,
            owner_key=owner_key,
            started_at=STARTED + timedelta(minutes=number),
        )
        add_message(turn, "prompt", prompt)
        add_message(turn, "response", f"{prompt}!")
        turns.append(turn)
    return turns


def texts(turns: list[Turn]) -> list[list[str]]:
    found = histories(turns)
    return [[message.text for message in found[turn.pk]] for turn in turns]


def test_each_turn_has_what_was_said_until_then_the_newest_first() -> None:
    assert texts(said_in("thr_1", "a", "b", "c")) == [
        ["a!", "a"],
        ["b!", "b", "a!", "a"],
        ["c!", "c", "b!", "b", "a!", "a"],
    ]


def test_turns_of_many_threads_take_two_queries(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    turns = [turn for number in range(6) for turn in said_in(f"thr_{number}", "a", "b")]
    with django_assert_num_queries(2):
        found = histories(turns)
    assert all(len(history) in {2, 4} for history in found.values())


def test_a_thread_of_the_same_name_of_somebody_else_is_not_told() -> None:
    ours = said_in("thr_1", "a", "b")
    theirs = said_in("thr_1", "x", "y", owner_key="user:2")
    assert texts([ours[1], theirs[1]]) == [["b!", "b", "a!", "a"], ["y!", "y", "x!", "x"]]


def test_turns_without_a_thread_are_no_conversation() -> None:
    assert texts(said_in("", "a", "b")) == [["a!", "a"], ["b!", "b"]]


def test_long_conversations_are_read_one_by_one_and_tell_the_same(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    turns = [*said_in("thr_1", "a", "b", "c"), *said_in("thr_2", "d"), *said_in("", "e")]
    together = texts(turns)
    monkeypatch.setattr(module, "TURNS_AT_MOST", 3)
    with django_assert_num_queries(1 + len(turns)):
        found = histories(turns)
    assert [[message.text for message in found[turn.pk]] for turn in turns] == together


def test_of_a_long_conversation_the_newest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGES_AT_MOST", 3)
    assert texts(said_in("thr_1", "a", "b"))[1] == ["b!", "b", "a!"]


def test_what_was_purged_is_not_told() -> None:
    turns = said_in("thr_1", "a", "b", "c")
    Turn.objects.filter(pk=turns[1].pk).update(text_purged_at=STARTED)
    assert texts([turns[2]]) == [["c!", "c", "a!", "a"]]


def test_of_no_turns_nothing_is_read(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        assert histories([]) == {}

"""The spans of turns: what they tell, how they nest, and that they cost a turn nothing."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from agents import Agent, FunctionTool, RunContextWrapper, function_tool
from django.db import OperationalError

from chatkit_endpoint.assistant import build_model
from chatkit_endpoint.server import DjangoChatKitServer, get_server
from chatkit_endpoint.store import DjangoStore
from observability import instrument, span_log, spans
from observability.models import Turn, TurnSpans
from observability.retention import purge_text
from observability.span_log import ROOT, SPANS_AT_MOST, TEXT_CHARS, Kind, SpanLog, describe, text_of
from tests.chatkit_endpoint.visitors import Visitor, user_of
from tests.factories import make_turn

pytestmark = pytest.mark.django_db(transaction=True)


async def spans_of(turn: Turn) -> list[dict[str, Any]]:
    return list((await TurnSpans.objects.aget(turn=turn)).spans)


def named(told: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (span,) = [span for span in told if span["name"] == name]
    return span


async def test_a_turn_keeps_its_steps_under_their_parents() -> None:
    alice = await Visitor().sign_in(await user_of("alice"))
    answer = await alice.say("What time is it?")
    assert answer.status == 200
    turn = await Turn.objects.aget()
    told = await spans_of(turn)
    root, agent, tool = told[0], named(told, "Assistant"), named(told, "current_time")
    assert (root["id"], root["parent_id"], root["name"]) == (ROOT, "", "threads.create")
    assert root["duration_ms"] == turn.total_ms
    assert (agent["kind"], agent["parent_id"]) == ("agent", ROOT)
    assert (tool["kind"], tool["parent_id"]) == ("tool", agent["id"])
    assert agent["attributes"]["tools"] == ["current_time"]
    assert "time_zone" in tool["attributes"]["input"]
    assert tool["attributes"]["output"]
    stored = [span["name"] for span in told if span["kind"] == "store"]
    # Also what came before the turn.
    assert stored[0] == "save_thread"
    assert "save_item" in stored
    assert all(span["parent_id"] == ROOT for span in told if span["kind"] == "store")
    for span in told:
        assert (
            0
            <= span["start_ms"]
            <= span["start_ms"] + span["duration_ms"]
            <= root["duration_ms"] + 5
        )
        assert "error" not in span


@pytest.mark.parametrize("secret", ["sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD"])
async def test_a_failing_tool_is_told_with_type_message_and_place(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    @function_tool(name_override="current_time")
    async def failing(context: RunContextWrapper[Any], time_zone: str = "") -> str:
        raise LookupError(f"no such zone, key {secret}")

    await _answer_with(monkeypatch, failing)
    tool = named(await spans_of(await Turn.objects.aget()), "current_time")
    assert tool["error"]["type"] == "LookupError"
    assert tool["error"]["message"].startswith("no such zone, key ")
    assert "test_turn_spans.py" in tool["error"]["where"]
    assert tool["error"]["where"].endswith("in failing")
    assert secret not in str(tool)


async def _answer_with(monkeypatch: pytest.MonkeyPatch, tool: FunctionTool) -> None:
    agent: Agent[Any] = Agent(name="Helper", tools=[tool], model=build_model())
    kind = type(get_server())
    assert kind is DjangoChatKitServer
    server = instrument(kind(get_server().store, agent=agent))  # type: ignore[arg-type]
    monkeypatch.setattr("chatkit_endpoint.server.get_server", lambda: server)
    alice = await Visitor().sign_in(await user_of("alice"))
    await alice.say("What time is it?")


async def test_a_failure_of_the_recording_costs_only_the_spans(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(spans.TurnProcessor, "_begin", broken)
    alice = await Visitor().sign_in(await user_of("alice"))
    answer = await alice.say("What time is it?")
    assert answer.text
    assert answer.errors == []
    turn = await Turn.objects.aget()
    assert turn.status == Turn.Status.COMPLETED
    assert turn.output_tokens
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


async def test_an_answer_that_can_not_be_kept_is_a_failure_and_not_the_visitors_doing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep = DjangoStore.add_thread_item

    async def keep_no_answer(store: DjangoStore, thread_id: str, item: Any, context: Any) -> None:
        if item.type != "assistant_message":
            return await keep(store, thread_id, item, context)
        with context.spans.step(Kind.STORE, "save_item"):
            raise OperationalError("disk full, and what somebody wrote")

    monkeypatch.setattr(DjangoStore, "add_thread_item", keep_no_answer)
    alice = await Visitor().sign_in(await user_of("alice"))
    answer = await alice.say("Hello")
    assert answer.errors
    assert b"disk full" not in answer.body
    turn = await Turn.objects.aget()
    for _ in range(200):
        if turn.status != Turn.Status.RUNNING:
            break
        gc.collect()
        await asyncio.sleep(0.05)
        await turn.arefresh_from_db()
    assert (turn.status, turn.error_code) == (Turn.Status.FAILED, "OperationalError")


@pytest.mark.parametrize(("rate", "kept"), [(0.0, False), (1.0, True)])
async def test_spans_are_sampled_but_turns_are_not(settings: Any, rate: float, kept: bool) -> None:
    settings.OBSERVABILITY_SPAN_SAMPLING = rate
    alice = await Visitor().sign_in(await user_of("alice"))
    await alice.say("Hello")
    assert await Turn.objects.acount() == 1
    assert await TurnSpans.objects.aexists() is kept


async def test_the_spans_of_a_failure_are_always_kept(settings: Any) -> None:
    settings.OBSERVABILITY_SPAN_SAMPLING = 0.0
    alice = await Visitor().sign_in(await user_of("alice"))
    await alice.say("/error")
    turn = await Turn.objects.aget()
    assert turn.status == Turn.Status.FAILED
    assert "error" in (await spans_of(turn))[0]


def test_purged_text_takes_the_spans_along(db: None) -> None:
    turn, other = make_turn(), make_turn()
    for each in (turn, other):
        TurnSpans.objects.create(turn=each, spans=[])
    purge_text(Turn.objects.filter(pk=turn.pk))
    assert list(TurnSpans.objects.values_list("turn", flat=True)) == [other.pk]


def shout(text: str) -> str:
    return text.upper()


def test_a_sites_own_redactor_is_asked_instead(settings: Any) -> None:
    settings.OBSERVABILITY_REDACTOR = f"{__name__}.shout"
    log = SpanLog()
    log.begin(Kind.TOOL, "search").attributes["input"] = "anna@example.com"
    (_, told) = log.export(operation="", total_ms=1, is_error=False)
    assert told["attributes"]["input"] == "ANNA@EXAMPLE.COM"


def test_a_log_is_bounded_and_says_what_it_left_out() -> None:
    log = SpanLog()
    for _ in range(SPANS_AT_MOST + 7):
        with log.step(Kind.STORE, "load_item"):
            pass
    told = log.export(operation="threads.create", total_ms=1, is_error=False)
    assert len(told) == SPANS_AT_MOST + 1
    assert told[0]["attributes"] == {"spans_dropped": 7}


def test_texts_are_cut_and_what_is_unfinished_is_said() -> None:
    log = SpanLog()
    span = log.begin(Kind.TOOL, "search")
    span.attributes["input"] = text_of("x" * 3 * TEXT_CHARS)
    (_, told) = log.export(operation="", total_ms=50, is_error=False)
    assert told["attributes"]["unfinished"] is True
    assert told["attributes"]["input"].endswith(f"… (+{2 * TEXT_CHARS})")
    assert told["duration_ms"] <= 50


@pytest.mark.parametrize("before", range(TEXT_CHARS - 20, TEXT_CHARS + 1))
def test_no_secret_is_cut_in_two_before_it_is_recognised(before: int) -> None:
    log = SpanLog()
    said = "x " * (before // 2) + "4111 1111 1111 1111" + " y" * TEXT_CHARS
    log.begin(Kind.TOOL, "search").attributes["input"] = text_of(said)
    (_, told) = log.export(operation="", total_ms=1, is_error=False)
    assert "4111" not in told["attributes"]["input"]


@pytest.mark.django_db
def test_what_no_database_takes_is_kept_as_a_sign_of_it() -> None:
    log = SpanLog()
    span = log.begin(Kind.TOOL, "a\x00b")
    span.attributes = {"output": "c\x00\ud800d", "tools": ["e\x00"]}
    span.error = {"message": "\udfff\x00"}
    told = log.export(operation="threads.create", total_ms=1, is_error=False)
    turn = make_turn()
    TurnSpans.objects.create(turn=turn, spans=told)
    kept = TurnSpans.objects.get(turn=turn).spans[1]
    assert kept["name"] == "a\ufffdb"
    assert kept["attributes"]["output"].startswith("c\ufffd")
    assert kept["attributes"]["tools"] == ["e\ufffd"]


def test_a_step_that_is_passed_over_hands_its_children_to_its_parent() -> None:
    log = SpanLog()
    log.begin(Kind.AGENT, "a", id="1")
    log.pass_over("2", "1")
    assert log.begin(Kind.TOOL, "t", parent_id="2").parent_id == "1"
    assert log.begin(Kind.TOOL, "t", parent_id="unknown").parent_id == ROOT


def test_a_failing_step_of_ours_is_told_by_its_type_only() -> None:
    log = SpanLog()
    with pytest.raises(LookupError), log.step(Kind.STORE, "load_item"):
        raise LookupError("what somebody wrote")
    (_, told) = log.export(operation="", total_ms=1, is_error=True)
    assert told["error"] == {"type": "LookupError"}


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert describe(ValueError("x")) == {"type": "ValueError", "message": text_of("x")}
    assert span_log.ROOT == "request"

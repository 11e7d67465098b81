"""How much of what was said leaves."""

from __future__ import annotations

import json

import pytest
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    InferenceOptions,
    ThreadItemDoneEvent,
    UserMessageItem,
    UserMessageTextContent,
)
from pytest_django import Settings

from observability import text_levels, turns
from observability.anosys import Anosys, turn_payload
from observability.checks import check_forwarding
from observability.courier import Courier
from observability.histories import histories
from observability.models import Delivery, Turn
from observability.otlp import OTLP
from observability.recorder import Identity, TurnRecorder
from observability.span_log import Kind, SpanLog, describe, text_of
from observability.text_levels import PAYLOAD_CHARS, TEXT_CHARS, Level, Outgoing
from observability.webhook import Webhook
from tests.observability.helpers import STARTED, add_message, enqueue, make_turn
from tests.standins.anosys import anosys_standin

SAID = "Write to vera@example.com"


@pytest.mark.parametrize(
    ("level", "expected"),
    [(Level.FULL, SAID), (Level.REDACTED, "Write to [email]"), (Level.NONE, "")],
)
def test_a_text_leaves_at_its_level(level: Level, expected: str) -> None:
    assert Outgoing(level).text(SAID) == expected


@pytest.mark.parametrize("level", [Level.FULL, Level.REDACTED])
def test_a_long_text_is_cut_with_a_mark(level: Level) -> None:
    told = Outgoing(level).text("word " * 30_000)
    assert len(told) < TEXT_CHARS + 20
    assert told.endswith("… (+50000)")


def test_what_cannot_be_encoded_is_replaced() -> None:
    assert Outgoing(Level.FULL).text("a\ud800b") == "a?b"


def test_all_texts_of_an_event_are_bounded_together() -> None:
    outgoing = Outgoing(Level.FULL)
    told = [outgoing.text("x" * TEXT_CHARS) for _ in range(20)]
    assert sum(len(text) for text in told) < PAYLOAD_CHARS + 20 * 20
    assert told[0] == "x" * TEXT_CHARS
    assert told[-1] == f"… (+{TEXT_CHARS})"


@pytest.mark.django_db
class TestDestinations:
    def test_by_default_text_is_redacted_and_opentelemetry_gets_none(self) -> None:
        levels = [kind.outgoing().level for kind in (Anosys, Webhook, OTLP)]
        assert levels == [Level.REDACTED, Level.REDACTED, Level.NONE]

    def test_of_a_long_conversation_the_oldest_is_cut(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(text_levels, "PAYLOAD_CHARS", 1_000)
        turn = make_turn(prompt="", response="")
        for number in range(9):
            add_message(turn, "response", f"{number}" * 100)
        payload = turn_payload(turn, Outgoing(Level.FULL), histories([turn])[turn.pk])
        messages = payload["messages"]
        assert isinstance(messages, list)
        assert messages[-1]["text"] == "8" * 100
        assert messages[0]["text"] == "… (+100)"

    def test_anosys_is_told_no_secret(self, settings: Settings) -> None:
        turn = make_turn(prompt=SAID, response=f"I shall {SAID}")
        add_message(turn, "prompt", SAID)
        add_message(turn, "response", f"I shall {SAID}")
        with anosys_standin() as standin:
            settings.ANOSYS_API_KEY = standin.api_key
            settings.ANOSYS_RESOLVER_URL = standin.resolver_url
            enqueue(turn)
            courier = Courier()
            assert courier.deliver()
            courier.close()
            (event,) = standin.ingested
        told = json.dumps(event)
        assert "vera@example.com" not in told
        assert told.count("[email]") == 6

    def test_with_a_level_that_is_none_nothing_leaves(self, settings: Settings) -> None:
        with anosys_standin() as standin:
            settings.ANOSYS_API_KEY = standin.api_key
            settings.ANOSYS_RESOLVER_URL = standin.resolver_url
            settings.ANOSYS_TEXT = "som"
            enqueue(make_turn(prompt=SAID))
            courier = Courier()
            courier.deliver()
            courier.close()
            assert standin.events == []
        assert Delivery.objects.get().state == Delivery.State.PENDING


# -- what traces keep ----------------------------------------------------------------------------


def recorded(said: str) -> Turn:
    """A turn in which this was asked, answered, handed to a tool, and quoted by an error."""
    spans = SpanLog()
    span = spans.begin(Kind.TOOL, "send_mail")
    span.attributes["arguments"] = text_of(said)
    span.attributes["model"] = "demo"
    try:
        raise ValueError(said)
    except ValueError as error:
        span.error = describe(error)
    recorder = TurnRecorder(
        thread_id="thr_1",
        identity=Identity(owner_key="user:1"),
        prompt=UserMessageItem(
            id="msg_1",
            thread_id="thr_1",
            created_at=STARTED,
            content=[UserMessageTextContent(text=said)],
            inference_options=InferenceOptions(),
        ),
        spans=spans,
    )
    turns.open_turn(recorder)
    recorder.observe(
        ThreadItemDoneEvent(
            item=AssistantMessageItem(
                id="msg_2",
                thread_id="thr_1",
                created_at=STARTED,
                content=[AssistantMessageContent(text=said)],
            )
        )
    )
    recorder.finish(ValueError(said))
    turns.settle_turn(recorder)
    return Turn.objects.get(trace_id=recorder.trace_id)


def texts_of(turn: Turn) -> set[str]:
    return {
        turn.prompt,
        turn.response,
        turn.error_message,
        *turn.messages.values_list("text", flat=True),
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("level", "expected"),
    [("full", SAID), ("redacted", "Write to [email]"), ("none", "")],
)
def test_traces_keep_a_text_at_their_level(level: str, expected: str, settings: Settings) -> None:
    settings.OBSERVABILITY_TEXT = level
    turn = recorded(SAID)
    assert texts_of(turn) == {expected}
    # That there were lines is known, or what is rated later would have no turn.
    assert turn.messages.count() == 2
    assert Turn.objects.get(pk=Turn.objects.that_made("msg_2")[0].pk) == turn
    (span,) = (each for each in turn.span_row.spans if each["name"] == "send_mail")
    assert span["error"]["type"] == "ValueError"
    assert span["attributes"]["model"] == "demo"
    kept = [span["attributes"].get("arguments"), span["error"].get("message")]
    # Steps are never kept but redacted.
    assert kept == [None if level == "none" else "Write to [email]"] * 2


@pytest.mark.django_db
def test_a_level_that_is_none_keeps_nothing_and_is_said(settings: Settings) -> None:
    settings.OBSERVABILITY_TEXT = "ful"
    assert texts_of(recorded(SAID)) == {""}
    (error,) = (each for each in check_forwarding() if each.id == "observability.E005")
    assert "OBSERVABILITY_TEXT" in str(error.msg)

"""How much of what was said leaves."""

from __future__ import annotations

import json

import pytest
from pytest_django import Settings

from observability import text_levels
from observability.anosys import Anosys, turn_payload
from observability.courier import Courier
from observability.histories import histories
from observability.models import Delivery
from observability.otlp import OTLP
from observability.text_levels import PAYLOAD_CHARS, TEXT_CHARS, Level, Outgoing
from observability.webhook import Webhook
from tests.observability.helpers import add_message, enqueue, make_turn
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

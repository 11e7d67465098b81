"""The webhook: what is posted, how it is signed, and how answers are understood."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.db.models.functions import Now
from pytest_django import Settings

from observability import outbox, webhook
from observability.courier import Courier
from observability.models import ClientEvent, Delivery, Turn
from observability.webhook import signature
from tests.factories import make_client_event
from tests.observability.helpers import add_message, enqueue, make_turn
from tests.standins.anosys import Answer
from tests.standins.webhook import WebhookStandin, webhook_standin

State = Delivery.State

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def standin(settings: Settings) -> Iterator[WebhookStandin]:
    with webhook_standin() as standin:
        settings.OBSERVABILITY_WEBHOOK_URL = standin.hook_url
        settings.OBSERVABILITY_WEBHOOK_SECRET = standin.secret
        yield standin


@pytest.fixture
def courier() -> Iterator[Courier]:
    courier = Courier()
    yield courier
    courier.close()


def test_a_turn_is_told_whole(courier: Courier, standin: WebhookStandin) -> None:
    turn = make_turn(
        model="gpt-5-mini",
        locale="de",
        tenant="acme",
        request_id="req-1",
        operation="threads.create",
        ttft_ms=0,
        total_ms=2000,
        input_tokens=12,
        cost_usd=Decimal("0.000123"),
        prompt="Grüße, vera@example.com 👋",
    )
    add_message(turn, "prompt", turn.prompt, item_id="msg_1")
    add_message(turn, "response", "Noon.", item_id="msg_2")
    enqueue(turn)
    courier.deliver()
    assert Delivery.objects.get().state == State.DELIVERED
    [event] = standin.events
    owner = event.pop("owner")
    assert len(owner) == 32
    assert event == {
        "type": "turn",
        "event_id": turn.trace_id,
        "trace_id": turn.trace_id,
        "tenant": "acme",
        "session_id": "session-1",
        "thread_id": "thr_1",
        "request_id": "req-1",
        "operation": "threads.create",
        "locale": "de",
        "model": "gpt-5-mini",
        "status": "completed",
        "error_code": "",
        "error_message": "",
        "started_at": "2026-11-21T12:00:00+00:00",
        "ended_at": "2026-11-21T12:00:02+00:00",
        "ttfp_ms": None,
        "ttft_ms": 0,
        "duration_ms": None,
        "total_ms": 2000,
        "client_ttft_ms": None,
        "client_duration_ms": None,
        "input_tokens": 12,
        "cached_tokens": None,
        "output_tokens": None,
        "reasoning_tokens": None,
        "cost_usd": "0.000123",
        "prompt": "Grüße, [email] 👋",
        "response": "Noon.",
        "messages": [
            {
                "kind": "prompt",
                "item_id": "msg_1",
                "created_at": "2026-11-21T12:00:00+00:00",
                "text": "Grüße, [email] 👋",
            },
            {
                "kind": "response",
                "item_id": "msg_2",
                "created_at": "2026-11-21T12:00:00.001000+00:00",
                "text": "Noon.",
            },
        ],
    }


def test_an_action_is_told_with_its_turn(courier: Courier, standin: WebhookStandin) -> None:
    turn = make_turn()
    event = make_client_event(
        turn,
        name=ClientEvent.Name.ACTION,
        data={"action": "copy", "item_id": "msg_2"},
        thread_id="thr_1",
        occurred_at=datetime(2026, 11, 21, 12, 1, tzinfo=UTC),
    )
    with transaction.atomic():
        outbox.enqueue_action(event)
    courier.deliver()
    [told] = standin.events
    assert told.pop("owner")
    assert told == {
        "type": "action",
        "event_id": event.event_id,
        "trace_id": turn.trace_id,
        "tenant": "",
        "session_id": "session-1",
        "thread_id": "thr_1",
        "name": "message.action",
        "data": {"action": "copy", "item_id": "msg_2"},
        "occurred_at": "2026-11-21T12:01:00+00:00",
    }


def test_an_action_of_no_known_turn_is_told_too(courier: Courier, standin: WebhookStandin) -> None:
    outbox.enqueue_action(make_client_event(name=ClientEvent.Name.ACTION))
    courier.deliver()
    assert [event["trace_id"] for event in standin.events] == [None]


def test_the_signature_is_of_the_time_and_the_body() -> None:
    # As any receiver computes it: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac k
    assert signature("k", b'{"a":1}', timestamp=1_700_000_000) == (
        "t=1700000000,v1=1b6ad1bc9bf48c52ce01939866d5877c6cc4e87ddad27e16673cb8c4964394a3"
    )
    assert signature("k", b"", timestamp=1) != signature("k", b"", timestamp=2)
    assert signature("k", b"", timestamp=1) != signature("l", b"", timestamp=1)


def test_a_post_says_what_it_is_and_whose(courier: Courier, standin: WebhookStandin) -> None:
    delivery = enqueue()
    courier.deliver()
    [post] = standin.posts
    assert post.headers["content-type"] == "application/json"
    assert post.headers["idempotency-key"] == delivery.event_id


def test_with_another_secret_it_is_refused(
    courier: Courier, standin: WebhookStandin, settings: Settings
) -> None:
    settings.OBSERVABILITY_WEBHOOK_SECRET = "another"
    enqueue()
    courier.deliver()
    assert (standin.events, Delivery.objects.get().last_status) == ([], 401)


def test_what_was_purged_is_not_sent(courier: Courier, standin: WebhookStandin) -> None:
    enqueue()
    Turn.objects.update(text_purged_at=Now())
    courier.deliver()
    assert (Delivery.objects.get().state, standin.posts) == (State.PURGED, [])


@pytest.mark.parametrize(
    ("status", "state"),
    [
        *((status, State.DELIVERED) for status in (200, 201, 202, 204)),
        *((status, State.PENDING) for status in (302, 408, 425, 429, 500, 503, 599)),
        *((status, State.DEAD) for status in (400, 401, 403, 404, 410, 413, 422)),
    ],
)
def test_what_an_answer_means(
    courier: Courier, standin: WebhookStandin, status: int, state: str
) -> None:
    enqueue()
    standin.answer(Answer(status=status, headers={"Location": "/elsewhere"}, body=b""))
    courier.deliver()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.last_status, len(standin.posts)) == (state, status, 1)


def test_a_receiver_s_wish_to_wait_is_obeyed(courier: Courier, standin: WebhookStandin) -> None:
    enqueue()
    standin.answer(Answer(status=429, headers={"Retry-After": "120"}))
    courier.deliver()
    delivery = Delivery.objects.get()
    assert (delivery.available_at - delivery.created_at).total_seconds() >= 119


def test_neither_address_nor_secret_nor_text_is_ever_said(
    courier: Courier,
    standin: WebhookStandin,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(webhook.Webhook, "is_ready", lambda self: True)
    for logger in ("", "httpx"):
        caplog.set_level("DEBUG", logger)
    answers: list[Any] = [
        Answer(),
        Answer(status=400),
        Answer(status=503),
        Answer(status=302, headers={"Location": "/elsewhere"}),
        Answer(drop=True),
    ]
    for number, answer in enumerate(answers):
        enqueue(make_turn(thread_id=f"thr_{number}", prompt="canary-text"))
        standin.answer(answer)
    courier.deliver()
    assert len(standin.posts) == len(answers)
    said = caplog.text + repr(list(Delivery.objects.values_list("last_error", flat=True)))
    assert "Deliveries to webhook wait" in said
    for secret in ("s3cret-path", standin.secret, "canary-text"):
        assert secret not in said

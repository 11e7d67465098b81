"""The courier between several collectors: what ails one is no matter of the others."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from observability import collector, outbox, webhook
from observability import courier as courier_module
from observability.courier import BATCH, Courier
from observability.models import Delivery
from tests.observability.helpers import make_turn
from tests.standins.anosys import AnosysStandin, Answer, anosys_standin
from tests.standins.webhook import WebhookStandin, webhook_standin

State = Delivery.State

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers come to events in the order in which tests give them."""
    monkeypatch.setattr(courier_module, "AT_ONCE", 1)


@pytest.fixture(autouse=True)
def anosys(settings: Settings) -> Iterator[AnosysStandin]:
    with anosys_standin() as standin:
        settings.ANOSYS_API_KEY = standin.api_key
        settings.ANOSYS_RESOLVER_URL = standin.resolver_url
        yield standin


@pytest.fixture(autouse=True)
def hook(settings: Settings) -> Iterator[WebhookStandin]:
    with webhook_standin() as standin:
        settings.OBSERVABILITY_WEBHOOK_URL = standin.hook_url
        settings.OBSERVABILITY_WEBHOOK_SECRET = standin.secret
        yield standin


@pytest.fixture
def courier() -> Iterator[Courier]:
    courier = Courier()
    yield courier
    courier.close()


class Clock:
    """``time.monotonic``, ahead by what a test says."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._real = time.monotonic

    def __call__(self) -> float:
        return self._real() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def enqueue_turns(count: int) -> None:
    for _ in range(count):
        outbox.enqueue_turn(make_turn())


def states(destination: str) -> list[str]:
    deliveries = Delivery.objects.filter(destination=destination).order_by("pk")
    return list(deliveries.values_list("state", flat=True))


def attempts(destination: str) -> int:
    return sum(Delivery.objects.filter(destination=destination).values_list("attempts", flat=True))


def test_each_collector_gets_each_turn(
    courier: Courier, anosys: AnosysStandin, hook: WebhookStandin
) -> None:
    enqueue_turns(3)
    courier.deliver()
    assert len(anosys.ingested) == len(hook.events) == 3
    assert courier.outcomes == {State.DELIVERED: 6}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_collector_that_is_down_costs_one_attempt_and_the_others_nothing(
    courier: Courier,
    anosys: AnosysStandin,
    hook: WebhookStandin,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr(collector, "backoff_seconds", lambda failures: 60.0)
    enqueue_turns(5)
    hook.answer(*[Answer(status=status)] * 5)
    courier.deliver()
    assert courier.deliver() == 0
    assert len(hook.posts) == attempts("webhook") == 1
    assert states("webhook") == [State.PENDING] * 5
    assert states("anosys") == [State.DELIVERED] * 5


def test_a_collector_that_hangs_costs_one_time_out(
    anosys: AnosysStandin,
    hook: WebhookStandin,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collector, "backoff_seconds", lambda failures: 60.0)
    monkeypatch.setattr(collector, "REQUEST_SECONDS", 0.5)
    courier = Courier()
    enqueue_turns(3)
    hook.answer(*[Answer(delay=60)] * 3)
    courier.deliver()
    courier.close()
    assert len(hook.posts) == 1
    [tried] = Delivery.objects.filter(attempts=1, destination="webhook")
    assert tried.last_error == "DeadlineExceeded"
    assert states("anosys") == [State.DELIVERED] * 3


def test_an_error_that_may_be_of_one_event_does_not_stop_the_others(
    courier: Courier, hook: WebhookStandin
) -> None:
    enqueue_turns(3)
    hook.answer(Answer(status=500), Answer(status=400))
    courier.deliver()
    assert sorted(states("webhook")) == [State.DEAD, State.DELIVERED, State.PENDING]


def test_a_collector_that_stays_down_is_asked_ever_more_rarely_until_it_is_back(
    courier: Courier, hook: WebhookStandin, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "backoff_seconds", lambda failures: 2.0**failures)
    enqueue_turns(BATCH + 10)
    hook.answer(*[Answer(status=503)] * 13)
    for _ in range(450):
        clock.ahead += 1
        courier.deliver()
    # At once, after 1, 3, 7, 15, 31 and 63 seconds, and from then on each minute.
    assert len(hook.posts) == 13
    clock.ahead += 61
    courier.deliver()
    assert len(hook.posts) == 13 + BATCH


def test_a_collector_s_wish_to_wait_is_obeyed_for_all_its_deliveries(
    courier: Courier, hook: WebhookStandin, clock: Clock
) -> None:
    enqueue_turns(3)
    hook.answer(Answer(status=503, headers={"Retry-After": "120"}))
    courier.deliver()
    clock.ahead += 110
    courier.deliver()
    assert len(hook.posts) == 1
    clock.ahead += 15
    courier.deliver()
    assert len(hook.posts) == 3


def test_that_a_collector_is_down_is_said_once(
    courier: Courier, hook: WebhookStandin, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    enqueue_turns(5)
    hook.answer(*[Answer(status=503)] * 3)
    for _ in range(3):
        courier.deliver()
        clock.ahead += 61
    assert caplog.text.count("Deliveries to webhook wait: HTTP 503.") == 1


def test_what_can_t_be_put_into_words_does_not_hold_up_what_is_behind_it(
    courier: Courier,
    hook: WebhookStandin,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    enqueue_turns(3)
    told, tried = webhook.turn_payload, []

    def fail_at_first(turn, outgoing):
        tried.append(turn)
        if len(tried) == 1:
            raise ValueError("-".join(("canary", "text")))
        return told(turn, outgoing)

    monkeypatch.setattr(webhook, "turn_payload", fail_at_first)
    courier.deliver()
    assert states("webhook") == [State.PENDING, State.DELIVERED, State.DELIVERED]
    first = Delivery.objects.filter(destination="webhook").earliest("pk")
    assert (first.attempts, first.last_error) == (1, "ValueError")
    assert "A delivery can't be told to webhook: ValueError" in caplog.text
    assert "canary-text" not in caplog.text


class TestManyAtOnce:
    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch: pytest.MonkeyPatch, one_at_a_time: None) -> None:
        monkeypatch.setattr(courier_module, "AT_ONCE", 8)

    def test_a_backlog_goes_out_several_at_a_time(
        self, courier: Courier, hook: WebhookStandin
    ) -> None:
        enqueue_turns(1 + 8 + 8)
        hook.answer(*[Answer(delay=1)] * 17)
        courier.deliver()
        assert hook.busiest == 8
        assert states("webhook") == [State.DELIVERED] * 17
        assert len({post.headers["idempotency-key"] for post in hook.posts}) == 17

    def test_each_has_its_own_outcome(self, courier: Courier, hook: WebhookStandin) -> None:
        enqueue_turns(9)
        hook.answer(*[Answer(status=status) for status in (200, 200, 200, 400, 400, 500)])
        courier.deliver()
        found = Counter(states("webhook"))
        assert found == {State.DELIVERED: 6, State.DEAD: 2, State.PENDING: 1}

    def test_a_collector_that_goes_down_costs_what_is_on_its_way(
        self, courier: Courier, hook: WebhookStandin
    ) -> None:
        enqueue_turns(30)
        hook.answer(Answer(), *[Answer(status=503, headers={"Retry-After": "60"})] * 30)
        courier.deliver()
        courier.deliver()
        assert len(hook.posts) == 1 + 8
        waiting = Delivery.objects.filter(destination="webhook", state=State.PENDING)
        assert waiting.filter(attempts=0).count() == 30 - 9

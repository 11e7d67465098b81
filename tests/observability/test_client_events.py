"""What browsers report: scrubbed, kept once, joined to the turn that it is about."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from observability.client_events import Report, record, scrub
from observability.courier import Courier
from observability.models import ClientEvent, Delivery, Message, Turn
from observability.recorder import Identity
from tests.standins.anosys import AnosysStandin, anosys_standin

from .helpers import add_message, make_turn

pytestmark = pytest.mark.django_db

OWNER = Identity(owner_key="user:7", session_id="session-1")
CANARY = "my mother’s maiden name is Quux"


def report(name: str, at: datetime | None = None, thread_id: str = "", **data: Any) -> Report:
    return Report(name=name, data=data, thread_id=thread_id, occurred_at=at or timezone.now())


def turn_now(**fields: Any) -> Turn:
    """A turn of the last seconds."""
    started_at = timezone.now() - timedelta(seconds=5)
    return make_turn(
        **{"started_at": started_at, "ended_at": started_at + timedelta(seconds=2), **fields}
    )


def only_event() -> ClientEvent:
    return ClientEvent.objects.get()


# -- what gets in ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ClientEvent.Name.values)
def test_no_text_gets_in_under_any_name_or_key(name: str) -> None:
    keys = ("text", "prompt", "code", "name", "action", "item_id", "log", "tool_id")
    texts = dict.fromkeys(keys, CANARY)
    data = {**texts, CANARY: 1, "ttft_ms": CANARY, "request_id": CANARY, "status": {"a": CANARY}}
    record(OWNER, [Report(name=name, data=data, thread_id=CANARY)])
    (row,) = ClientEvent.objects.values()
    assert "Quux" not in json.dumps(row, default=str)
    assert row["data"] == {}
    assert set(row["dropped"]) == {"?", *data} - {CANARY}


def test_what_is_allowed_by_name_is_kept() -> None:
    data = {"action": "copy", "item_id": "msg_1"}
    assert scrub("message.action", {**data, "text": "x"}) == (data, ["text"])
    timing = {"request_id": "a-b", "ttft_ms": 12.5, "duration_ms": 3, "total_ms": 16}
    assert scrub("client.timing", timing) == (timing, [])
    # Each name has its own list.
    assert scrub("composer.submit", data) == ({}, ["action", "item_id"])


@pytest.mark.parametrize("value", [True, -1, float("nan"), float("inf"), 10**12, "12", None, [1]])
def test_a_timing_is_a_number_of_milliseconds_within_a_day(value: Any) -> None:
    assert scrub("client.timing", {"ttft_ms": value}) == ({}, ["ttft_ms"])


def test_an_event_of_another_name_is_left_out() -> None:
    assert len(record(OWNER, [report("keylogger.key"), report("chatkit.ready")])) == 1
    assert only_event().name == "chatkit.ready"


def test_a_batch_that_comes_again_is_not_kept_twice() -> None:
    batch = [report("chatkit.ready"), report("message.action", action="copy")]
    assert len(record(OWNER, batch)) == 2
    assert len(record(OWNER, [*batch, report("chatkit.error", code="network")])) == 1
    assert record(OWNER, batch + batch) == []
    # Somebody else's events are their own.
    assert len(record(Identity(owner_key="user:8", session_id="session-1"), batch)) == 2


@pytest.mark.parametrize("days", [-400, 3])
def test_a_clock_that_is_far_off_tells_no_time(days: int) -> None:
    before = timezone.now()
    record(OWNER, [report("chatkit.ready", before + timedelta(days=days))])
    event = only_event()
    assert before <= event.occurred_at == event.received_at


def test_events_of_a_clock_that_is_far_off_are_not_taken_for_each_other() -> None:
    long_ago = timezone.now() - timedelta(days=400)
    items = ["msg_1", "msg_2", "msg_3"]
    batch = [
        report("message.action", long_ago + timedelta(seconds=number), action="copy", item_id=item)
        for number, item in enumerate(items)
    ]
    assert len(record(OWNER, batch)) == 3
    kept = ClientEvent.objects.order_by("occurred_at").values_list("data__item_id", flat=True)
    assert list(kept) == items


# -- the turn it is about -------------------------------------------------------------------------


def test_a_timing_joins_the_turn_of_its_request_and_tells_it() -> None:
    turn = turn_now(request_id="req-1")
    other = turn_now(request_id="req-2")
    record(
        OWNER,
        [
            report(
                "client.timing", request_id="req-1", ttft_ms=812.4, duration_ms=99.6, total_ms=912
            )
        ],
    )
    assert only_event().turn == turn
    turn.refresh_from_db()
    other.refresh_from_db()
    assert (turn.client_ttft_ms, turn.client_duration_ms) == (812, 100)
    assert (other.client_ttft_ms, other.client_duration_ms) == (None, None)


def test_a_timing_of_an_answer_without_text_leaves_the_first_token_unknown() -> None:
    turn = turn_now(request_id="req-1")
    record(OWNER, [report("client.timing", request_id="req-1", total_ms=912)])
    turn.refresh_from_db()
    assert (turn.client_ttft_ms, turn.client_duration_ms) == (None, None)


def test_an_action_joins_the_turn_that_made_the_item() -> None:
    turn, later = turn_now(), turn_now()
    add_message(turn, Message.Kind.RESPONSE, "Noon.", item_id="msg_1")
    add_message(later, Message.Kind.RESPONSE, "One.", item_id="msg_2")
    record(OWNER, [report("message.action", None, "thr_1", action="copy", item_id="msg_1")])
    assert only_event().turn == turn


@pytest.mark.parametrize(
    ("name", "seconds", "is_joined"),
    [
        ("chatkit.response.start", 1, True),
        ("chatkit.response.end", 2, True),
        ("chatkit.error", 20, True),
        ("chatkit.error", 50, False),
        ("chatkit.error", -10, False),
        ("composer.submit", -1, True),
        ("composer.submit", 10, False),
        ("chatkit.ready", 1, False),
    ],
)
def test_other_events_join_by_session_and_time(name: str, seconds: int, is_joined: bool) -> None:
    turn = turn_now()
    turn_now(session_id="session-2")
    turn_now(thread_id="thr_2", started_at=turn.started_at - timedelta(hours=1))
    at = turn.started_at + timedelta(seconds=seconds)
    record(OWNER, [report(name, at, "" if name == "composer.submit" else "thr_1")])
    assert only_event().turn == (turn if is_joined else None)


@pytest.mark.parametrize(
    "stranger",
    [
        Identity(owner_key="user:8", session_id="session-1"),
        Identity(owner_key="user:7", tenant="acme", session_id="session-1"),
    ],
)
def test_nobody_reports_on_somebody_elses_turn(stranger: Identity) -> None:
    turn = turn_now(request_id="req-1")
    add_message(turn, Message.Kind.RESPONSE, "Noon.", item_id="msg_1")
    at = turn.started_at + timedelta(seconds=1)
    record(
        stranger,
        [
            report("client.timing", at, "thr_1", request_id="req-1", ttft_ms=1, duration_ms=1),
            report("message.action", at, "thr_1", action="copy", item_id="msg_1"),
            report("chatkit.error", at, "thr_1", code="network"),
        ],
    )
    assert set(ClientEvent.objects.values_list("turn", flat=True)) == {None}
    turn.refresh_from_db()
    assert turn.client_ttft_ms is None


# -- what is forwarded ----------------------------------------------------------------------------


def test_only_what_a_visitor_did_is_forwarded(settings: Any) -> None:
    settings.ANOSYS_API_KEY = "a-key"
    turn = turn_now()
    add_message(turn, Message.Kind.RESPONSE, "Noon.", item_id="msg_1")
    record(
        OWNER,
        [
            report("message.action", None, "thr_1", action="copy", item_id="msg_1", text=CANARY),
            report("chatkit.ready"),
        ],
    )
    delivery = Delivery.objects.get()
    event = ClientEvent.objects.get(name="message.action")
    assert (delivery.kind, delivery.event_id) == ("action", event.event_id)
    assert (delivery.client_event, delivery.turn) == (event, turn)


def test_nothing_is_forwarded_without_a_collector() -> None:
    record(OWNER, [report("message.action", action="copy")])
    assert not Delivery.objects.exists()


def test_a_batch_takes_few_queries_however_long_it_is(
    django_assert_max_num_queries: Any,
) -> None:
    now = timezone.now()
    batch = [report("chatkit.ready", now + timedelta(milliseconds=each)) for each in range(50)]
    with django_assert_max_num_queries(4):
        assert len(record(OWNER, batch)) == 50


@pytest.fixture
def anosys(settings: Any) -> Iterator[AnosysStandin]:
    with anosys_standin() as standin:
        settings.ANOSYS_API_KEY = standin.api_key
        settings.ANOSYS_RESOLVER_URL = standin.resolver_url
        yield standin


def deliver() -> None:
    courier = Courier()
    courier.deliver()
    courier.close()


def test_an_action_reaches_the_collector_as_the_design_describes_it(anosys: AnosysStandin) -> None:
    at = timezone.now().replace(microsecond=250_000)
    record(OWNER, [report("message.action", at, "thr_1", action="copy", item_id="msg_1", t=CANARY)])
    deliver()
    (event,) = anosys.ingested
    at_ms = round(at.timestamp() * 1000)
    assert json.loads(event.pop("cvs2")) == {
        "name": "message.action",
        "data": {"action": "copy", "item_id": "msg_1"},
        "timestamp": at_ms,
    }
    assert event == {
        "event_type": "message.action",
        "event_source_name": "chatkit action",
        "event_id": only_event().event_id,
        "user_timestamp": at_ms,
        "cvs1": "copy",
        "cvs3": "session-1",
        "cvs4": "thr_1",
    }
    assert Delivery.objects.get().state == Delivery.State.DELIVERED


def test_an_action_that_is_gone_is_not_sent(anosys: AnosysStandin) -> None:
    record(OWNER, [report("message.action", action="copy")])
    ClientEvent.objects.all().delete()
    deliver()
    assert anosys.ingested == []
    assert Delivery.objects.get().state == Delivery.State.PURGED

"""Anosys: what a turn looks like there, where it is sent, and what is never said."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from observability import anosys, collector
from observability.anosys import Anosys, turn_payload
from observability.destinations import Outcome, Verdict
from observability.histories import histories
from observability.http_client import is_address
from observability.models import Turn
from observability.text_levels import Level, Outgoing
from tests.observability.helpers import STARTED, add_message, make_turn
from tests.standins.anosys import AnosysStandin, Answer, anosys_standin

STARTED_MS = 1_795_262_400_000
EVENT: dict[str, object] = {"event_id": "e1", "event_type": "chatkit chat"}


def payload_of(turn: Turn, level: Level = Level.FULL) -> dict[str, Any]:
    return turn_payload(turn, Outgoing(level), histories([turn])[turn.pk])


@pytest.mark.django_db
class TestPayload:
    def test_a_whole_turn(self) -> None:
        turn = make_turn(
            model="gpt-5-mini",
            locale="de",
            duration_ms=1500,
            ttft_ms=500,
            total_ms=2000,
            input_tokens=12,
            output_tokens=34,
        )
        add_message(turn, "prompt", "What is the time?", item_id="msg_1")
        add_message(turn, "thought", "A clock would help.", item_id="wf_1")
        add_message(turn, "response", "Noon.", item_id="msg_2")
        payload = payload_of(turn)
        pseudonym = payload.pop("cvs5")
        assert payload == {
            "event_type": "chatkit chat",
            "event_source_name": "chatkit",
            "event_id": turn.trace_id,
            "timestamp": str(STARTED_MS + 2000),
            "user_timestamp": STARTED_MS + 2000,
            "timestamp_ms": STARTED_MS + 2000,
            "cvs1": "What is the time?",
            "cvs2": "Noon.",
            "cvs3": "session-1",
            "cvs4": "thr_1",
            "cvs6": "gpt-5-mini",
            "cvs7": "de",
            "cvs8": "completed",
            "cvs9": "",
            "cvn1": 1500,
            "cvn2": 500,
            "cvn3": 12,
            "cvn4": 34,
            "cvn5": 2000,
            "chatkit": {"session_id": "session-1", "thread_id": "thr_1"},
            "messages": [
                {
                    "kind": "prompt",
                    "item_id": "msg_1",
                    "created_at": STARTED_MS,
                    "text": "What is the time?",
                },
                {
                    "kind": "thought",
                    "item_id": "wf_1",
                    "created_at": STARTED_MS + 1,
                    "text": "A clock would help.",
                },
                {
                    "kind": "response",
                    "item_id": "msg_2",
                    "created_at": STARTED_MS + 2,
                    "text": "Noon.",
                },
            ],
            "cvs10": "prompt",
            "cvs11": "msg_1",
            "cvs12": str(STARTED_MS),
            "cvs13": "What is the time?",
            "cvs14": "thought",
            "cvs15": "wf_1",
            "cvs16": str(STARTED_MS + 1),
            "cvs17": "A clock would help.",
            "cvs18": "response",
            "cvs19": "msg_2",
            "cvs20": str(STARTED_MS + 2),
            "cvs21": "Noon.",
        }
        assert isinstance(pseudonym, str)
        assert len(pseudonym) == 32

    def test_an_unknown_number_is_left_out_and_a_known_zero_is_not(self) -> None:
        payload = payload_of(make_turn(ttft_ms=0))
        assert payload["cvn2"] == 0
        assert {"cvn1", "cvn3", "cvn4", "cvn5"}.isdisjoint(payload)

    def test_an_unknown_text_is_empty_and_keeps_its_slot(self) -> None:
        turn = make_turn(session_id="", model="", status=Turn.Status.FAILED, error_code="x.y")
        add_message(turn, "prompt", "one", item_id="")
        add_message(turn, "response", "two", item_id="msg_2")
        payload = payload_of(turn)
        assert (payload["cvs3"], payload["cvs6"]) == ("", "")
        assert (payload["cvs8"], payload["cvs9"]) == ("failed", "x.y")
        assert [payload[f"cvs{slot}"] for slot in (10, 11, 13, 14, 15, 17)] == [
            "prompt",
            "",
            "one",
            "response",
            "msg_2",
            "two",
        ]

    def test_a_turn_without_messages_has_no_flat_slots(self) -> None:
        payload = payload_of(make_turn())
        assert payload["messages"] == []
        assert "cvs10" not in payload

    def test_a_turn_that_never_ended_is_dated_by_its_start(self) -> None:
        assert payload_of(make_turn(ended_at=None))["timestamp_ms"] == STARTED_MS

    def test_its_types_are_those_of_the_reference(self) -> None:
        turn = make_turn(duration_ms=1, ttft_ms=2, total_ms=3, input_tokens=4, output_tokens=5)
        add_message(turn, "prompt", "a text")
        payload: dict[str, Any] = json.loads(json.dumps(payload_of(turn)))
        for name, value in payload.items():
            if name.startswith("cvs"):
                assert type(value) is str, name
            if name.startswith("cvn"):
                assert type(value) is int, name

    def test_the_conversation_so_far_is_told_but_only_this_turn_is_flat(self) -> None:
        for number in (1, 2, 3):
            turn = make_turn(started_at=STARTED + timedelta(minutes=number))
            add_message(turn, "prompt", f"question {number}")
            add_message(turn, "response", f"answer {number}")
        second = Turn.objects.get(started_at=STARTED + timedelta(minutes=2))
        payload = payload_of(second)
        # What came later is not told, so that a delivery that was delayed tells the same.
        assert texts(payload) == ["question 1", "answer 1", "question 2", "answer 2"]
        assert (payload["cvs13"], payload["cvs17"]) == ("question 2", "answer 2")
        assert "cvs18" not in payload

    def test_at_most_the_newest_200_messages_are_told(self) -> None:
        earlier = make_turn()
        for number in range(150):
            add_message(earlier, "response", f"earlier {number}")
        turn = make_turn(started_at=STARTED + timedelta(minutes=1))
        for number in range(100):
            add_message(turn, "response", f"later {number}")
        told = texts(payload_of(turn))
        assert len(told) == 200
        assert told[0] == "earlier 50"
        assert told[99:101] == ["earlier 149", "later 0"]
        assert told[-1] == "later 99"

    @pytest.mark.parametrize(
        "other",
        [{"owner_key": "user:8"}, {"tenant": "another"}, {"thread_id": "thr_2"}],
        ids=["another owner", "another tenant", "another thread"],
    )
    def test_no_other_conversation_is_told(self, other: dict[str, str]) -> None:
        add_message(make_turn(**other), "prompt", "not yours")
        turn = make_turn(started_at=STARTED + timedelta(minutes=1))
        add_message(turn, "prompt", "yours")
        assert texts(payload_of(turn)) == ["yours"]

    def test_turns_without_a_thread_are_no_conversation(self) -> None:
        add_message(make_turn(thread_id=""), "prompt", "another")
        turn = make_turn(thread_id="", started_at=STARTED + timedelta(minutes=1))
        add_message(turn, "prompt", "this one")
        assert texts(payload_of(turn)) == ["this one"]

    def test_a_turn_whose_text_was_purged_is_not_told(self) -> None:
        add_message(make_turn(text_purged_at=timezone.now()), "prompt", "left over")
        turn = make_turn(started_at=STARTED + timedelta(minutes=1))
        assert texts(payload_of(turn)) == []

    def test_no_id_of_a_person_is_told(self) -> None:
        payload = payload_of(make_turn(owner_key="user:8675309"))
        assert "8675309" not in json.dumps(payload)

    def test_the_pseudonym_is_stable_and_each_owner_s_own(self) -> None:
        names = [payload_of(make_turn(owner_key=key))["cvs5"] for key in ("a", "a", "b")]
        assert names[0] == names[1] != names[2]

    def test_the_pseudonym_hangs_on_the_secret_key(self, settings: Settings) -> None:
        turn = make_turn()
        before = payload_of(turn)["cvs5"]
        settings.SECRET_KEY = "another one"
        assert payload_of(turn)["cvs5"] != before

    def test_nobody_has_no_pseudonym(self) -> None:
        assert payload_of(make_turn(owner_key=""))["cvs5"] == ""


def texts(payload: dict[str, object]) -> list[str]:
    messages = payload["messages"]
    assert isinstance(messages, list)
    return [message["text"] for message in messages]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://api.anosys.ai/trafficpixel/0a/ck/1b", True),
        ("http://127.0.0.1:9000/in?a=b", True),
        ("http://[::1]:9000/", True),
        ("https://xn--bcher-kva.example/", True),
        ("HTTPS://API.EXAMPLE/in", True),
        ("", False),
        (None, False),
        (7, False),
        (["https://api.example/"], False),
        ({"url": "https://api.example/"}, False),
        ("api.example/in", False),
        ("//api.example/in", False),
        ("/in", False),
        ("https://", False),
        ("https:///in", False),
        ("https://:443/in", False),
        ("ftp://api.example/in", False),
        ("file:///etc/passwd", False),
        ("javascript:alert(1)", False),
        ("https://api.example:99999/in", False),
        ("https://api.example:0/in", False),
        ("https://api.example:port/in", False),
        ("https://[::1/in", False),
        ("https://api.example/in\r\nX-Header: 1", False),
        ("https://api.example/in here", False),
        ("https://api.example/\x00", False),
        ("https://bücher.example/", False),
        (" https://api.example/in", False),
        ("https://api.example/" + "x" * 2048, False),
    ],
)
def test_is_address(value: object, expected: bool) -> None:
    assert is_address(value) is expected


@pytest.fixture
def standin(settings: Settings) -> Iterator[AnosysStandin]:
    with anosys_standin(api_key="a+key/with&specials=ü") as standin:
        settings.ANOSYS_API_KEY = standin.api_key
        settings.ANOSYS_RESOLVER_URL = standin.resolver_url
        yield standin


@pytest.fixture
def client(standin: AnosysStandin) -> Iterator[Anosys]:
    client = Anosys()
    yield client
    client.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def tell(client: Anosys, event: dict[str, object] = EVENT) -> Outcome:
    (outcome,) = client.tell([event])
    return outcome


class Clock:
    """``time.monotonic``, ahead by what a test says."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._real = time.monotonic

    def __call__(self) -> float:
        return self._real() + self.ahead


@pytest.mark.usefixtures("standin")
class TestResolving:
    def test_the_key_is_sent_encoded_and_with_the_type(
        self, client: Anosys, standin: AnosysStandin
    ) -> None:
        assert client.is_ready()
        assert standin.resolver_queries == [
            {"apikey": ["a+key/with&specials=ü"], "type": ["chatkit"]}
        ]

    def test_a_resolver_url_may_have_a_query_of_its_own(
        self, client: Anosys, standin: AnosysStandin, settings: Settings
    ) -> None:
        settings.ANOSYS_RESOLVER_URL = f"{standin.resolver_url}?region=eu"
        assert client.is_ready()
        assert standin.resolver_queries[0]["region"] == ["eu"]

    def test_one_answer_serves_many_events(self, client: Anosys, standin: AnosysStandin) -> None:
        for _ in range(5):
            assert tell(client).verdict is Verdict.DELIVERED
        assert (standin.resolver_requests, standin.ingestion_requests) == (1, 5)

    def test_the_older_answer_is_understood(self, client: Anosys, standin: AnosysStandin) -> None:
        standin.resolve(Answer(body=json.dumps({"url": standin.ingestion_url}).encode()))
        assert tell(client).verdict is Verdict.DELIVERED

    def test_the_newer_name_wins_and_all_else_is_ignored(
        self, client: Anosys, standin: AnosysStandin
    ) -> None:
        found = {
            "url": f"{standin.url}/older",
            "apiUrl": standin.ingestion_url,
            "hook": "cmFpc2UgU3lzdGVtRXhpdA==",
        }
        standin.resolve(Answer(body=json.dumps(found).encode()))
        assert tell(client).verdict is Verdict.DELIVERED
        assert standin.stray_requests == []

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(body=b""),
            Answer(body=b"not json"),
            Answer(body=b"null"),
            Answer(body=b'"https://api.example/"'),
            Answer(body=b"[]"),
            Answer(body=b"{}"),
            Answer(body=b'{"apiUrl": null}'),
            Answer(body=b'{"apiUrl": 7}'),
            Answer(body=b'{"apiUrl": "file:///etc/passwd"}'),
            Answer(body=b'{"apiUrl": {"$ref": "x"}}'),
            Answer(body=b'{"hook": "aHR0cHM6Ly9ldmlsLmV4YW1wbGU="}'),
            Answer(body=b"\xff\xfe"),
            Answer(body=b"[" * 60_000),
            Answer(body=b"x" * 1_000_000),
            Answer(status=401),
            Answer(status=403, body=b'{"apiUrl": "http://127.0.0.1:1/"}'),
            Answer(status=404),
            Answer(status=302, headers={"Location": "/elsewhere"}),
            Answer(status=429),
            Answer(status=500),
            Answer(drop=True),
            Answer(raw=b"garbage\r\n\r\n"),
        ],
        ids=str,
    )
    def test_without_an_address_events_wait_and_go_nowhere_else(
        self, client: Anosys, standin: AnosysStandin, clock: Clock, answer: Answer
    ) -> None:
        standin.resolve(answer)
        outcome = tell(client)
        assert outcome.verdict is Verdict.RETRY
        assert (standin.ingestion_requests, standin.stray_requests) == (0, [])
        clock.ahead += 2
        assert tell(client).verdict is Verdict.DELIVERED

    def test_a_resolver_that_is_down_is_asked_ever_more_rarely(
        self,
        client: Anosys,
        standin: AnosysStandin,
        clock: Clock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(anosys, "backoff_seconds", lambda attempts: 2.0**attempts)
        standin.resolve(*[Answer(status=503)] * 100)
        for _ in range(600):
            clock.ahead += 1
            client.is_ready()
        # At once and then after 1, 3, 7, … 511 seconds.
        assert standin.resolver_requests == 10

    def test_after_a_day_the_resolver_is_asked_again(
        self, client: Anosys, standin: AnosysStandin, clock: Clock
    ) -> None:
        tell(client)
        clock.ahead += 23 * 3600
        tell(client)
        assert standin.resolver_requests == 1
        clock.ahead += 2 * 3600
        standin.move("/moved")
        assert tell(client).verdict is Verdict.DELIVERED
        assert standin.resolver_requests == 2
        assert standin.stray_requests == []

    @pytest.mark.parametrize("answer", [Answer(status=500), Answer(drop=True)], ids=str)
    def test_a_day_old_address_is_used_on_while_the_resolver_is_out_of_reach(
        self, client: Anosys, standin: AnosysStandin, clock: Clock, answer: Answer
    ) -> None:
        tell(client)
        clock.ahead += 25 * 3600
        standin.resolve(answer)
        assert tell(client).verdict is Verdict.DELIVERED
        assert standin.resolver_requests == 2

    def test_a_day_old_address_is_dropped_when_the_resolver_disowns_the_key(
        self, client: Anosys, standin: AnosysStandin, clock: Clock
    ) -> None:
        tell(client)
        clock.ahead += 25 * 3600
        standin.resolve(Answer(status=401))
        assert tell(client).verdict is Verdict.RETRY
        assert standin.ingestion_requests == 1

    @pytest.mark.parametrize("status", [401, 403, 404, 410, 301, 307])
    def test_an_address_that_is_refused_is_asked_for_anew(
        self, client: Anosys, standin: AnosysStandin, clock: Clock, status: int
    ) -> None:
        tell(client)
        standin.answer(Answer(status=status, headers={"Location": "/elsewhere"}))
        outcome = tell(client)
        assert (outcome.verdict, outcome.status) == (Verdict.RETRY, status)
        standin.move("/moved")
        clock.ahead += 2
        assert tell(client).verdict is Verdict.DELIVERED
        assert standin.resolver_requests == 2
        assert standin.stray_requests == []

    def test_an_address_that_stays_refused_is_asked_for_ever_more_rarely(
        self,
        client: Anosys,
        standin: AnosysStandin,
        clock: Clock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(anosys, "backoff_seconds", lambda attempts: 2.0**attempts)
        standin.answer_always(Answer(status=403))
        for _ in range(100):
            clock.ahead += 1
            tell(client)
        assert standin.resolver_requests == standin.ingestion_requests == 7

    def test_a_given_ingestion_url_needs_no_resolver(
        self, client: Anosys, standin: AnosysStandin, settings: Settings
    ) -> None:
        settings.ANOSYS_INGESTION_URL = standin.ingestion_url
        assert tell(client).verdict is Verdict.DELIVERED
        assert standin.resolver_requests == 0

    def test_a_given_ingestion_url_that_is_none_is_said(
        self, client: Anosys, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.ANOSYS_INGESTION_URL = "collector.example/s3cret"
        assert not client.is_ready()
        assert "ANOSYS_INGESTION_URL" in caplog.text
        assert "s3cret" not in caplog.text

    def test_a_wrong_key_is_said_once_an_hour(
        self,
        client: Anosys,
        settings: Settings,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        settings.ANOSYS_API_KEY = "a-wrong-key"
        for _ in range(60):
            clock.ahead += 59
            assert not client.is_ready()
        assert caplog.text.count("Deliveries to Anosys wait") == 1
        assert "HTTP 401" in caplog.text
        clock.ahead += 900
        assert not client.is_ready()
        assert caplog.text.count("Deliveries to Anosys wait") == 2


@pytest.mark.usefixtures("standin")
class TestSending:
    def test_an_event_is_one_json_object_with_its_id_in_a_header(
        self, client: Anosys, standin: AnosysStandin
    ) -> None:
        event = {**EVENT, "cvs1": "Grüße 👋 \ud800 \u2028"}
        assert tell(client, event) == Outcome(verdict=Verdict.DELIVERED, status=200)
        assert standin.events == [event]
        assert standin.headers[0]["content-type"] == "application/json"
        assert standin.headers[0]["idempotency-key"] == "e1"

    @pytest.mark.parametrize(
        ("status", "verdict"),
        [
            *((status, Verdict.DELIVERED) for status in (200, 201, 202, 204)),
            *((status, Verdict.RETRY) for status in (408, 425, 429, 500, 502, 503, 504, 599)),
            *((status, Verdict.FINAL) for status in (400, 402, 405, 409, 413, 415, 422, 451)),
        ],
    )
    def test_what_an_answer_means(
        self, client: Anosys, standin: AnosysStandin, status: int, verdict: Verdict
    ) -> None:
        body = b"" if status == 204 else b"{}"
        standin.answer(Answer(status=status, body=body))
        outcome = tell(client)
        assert (outcome.verdict, outcome.status) == (verdict, status)

    def test_the_collector_s_wish_is_passed_on(
        self, client: Anosys, standin: AnosysStandin
    ) -> None:
        standin.answer(Answer(status=429, headers={"Retry-After": "17"}))
        assert tell(client).retry_after == 17

    def test_what_the_collector_writes_is_not_kept(
        self, client: Anosys, standin: AnosysStandin
    ) -> None:
        standin.answer(Answer(status=400, body=b"you sent: my secret"))
        assert tell(client) == Outcome(verdict=Verdict.FINAL, status=400, error="HTTP 400")

    def test_a_collector_that_hangs_takes_no_more_than_its_time(
        self, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(collector, "REQUEST_SECONDS", 1.0)
        client = Anosys()
        standin.answer(Answer(delay=60))
        assert tell(client) == Outcome(verdict=Verdict.RETRY, error="DeadlineExceeded")
        client.close()

    def test_a_request_takes_at_most_a_third_of_a_turn_s_lease(
        self, standin: AnosysStandin, settings: Settings
    ) -> None:
        settings.OBSERVABILITY_LEASE_SECONDS = 3
        client = Anosys()
        standin.answer(Answer(delay=60))
        started = time.monotonic()
        assert tell(client).error == "DeadlineExceeded"
        assert time.monotonic() - started < 5
        client.close()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(),
        Answer(status=400),
        Answer(status=401),
        Answer(status=503),
        Answer(status=302, headers={"Location": "/elsewhere"}),
        Answer(drop=True),
        Answer(raw=b"garbage\r\n\r\n"),
        Answer(delay=60),
    ],
    ids=str,
)
def test_neither_key_nor_address_nor_text_is_ever_said(
    standin: AnosysStandin,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: Answer,
) -> None:
    monkeypatch.setattr(collector, "REQUEST_SECONDS", 0.3)
    for logger in ("", "httpx", "httpcore"):  # As on a site that logs all it can.
        caplog.set_level(logging.DEBUG, logger)
    client = Anosys()
    standin.resolve(answer)
    standin.answer(answer)
    said = ""
    for _ in range(3):
        said += repr(tell(client, {**EVENT, "cvs1": "canary-text"}))
    said += repr(client) + repr(vars(client)["_http"]) + caplog.text
    client.close()
    assert "httpcore" in said
    assert "canary-text" not in said
    assert "specials" not in said
    assert "trafficpixel" not in said

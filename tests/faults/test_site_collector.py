"""A collector that is not there, or not itself: people chat on, and it is told everything later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import F
from pytest_django import Settings

from observability import outbox
from observability.models import Delivery
from observability.worker import Worker
from tests.chatkit_client import ChatClient
from tests.factories import make_turn
from tests.faults.scale import times
from tests.servers import Server, django_server, wait_until
from tests.standins.anosys import Answer, anosys_standin
from tests.standins.openai import OpenAIStandin, openai_standin

from .site_collector import TLSCollector, tls_collector
from .site_servers import SETTINGS, forwarding_to, turns_of, wait_until_all_is_delivered
from .site_speaker import SPEAKER, Order

TURNS = times(40, 4)
"""How many people chat during a fault."""
MOST_PROBES = 12
"""Of a collector that is down, in the seconds for which a fault lasts here. The pauses between them
are random, but each may be twice as long as the last: so many are next to impossible."""
MOST_ATTEMPTS = 8
"""Of each delivery, where the fault may be of one event. For the same reason."""
ANSWER = "".join(Order().texts())


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TLSCollector]:
    with tls_collector(tmp_path_factory.mktemp("collector")) as collector:
        yield collector


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, collector: TLSCollector) -> Iterator[Server]:
    with django_server(
        tmp_path_factory.mktemp("site"),
        settings_module=SETTINGS,
        SITE_SERVER=SPEAKER,
        **collector.environment,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def alice(site: Server) -> Iterator[ChatClient]:
    with ChatClient(site.url) as client:
        yield client.sign_in("alice")


def answers(**answer: object) -> Callable[[TLSCollector], None]:
    headers = {"Connection": "close", **answer.pop("headers", {})}  # type: ignore[dict-item]
    return lambda collector: collector.answer(Answer(headers=headers, **answer))  # type: ignore[arg-type]


FAULTS = {
    "500s": answers(status=500),
    "503s": answers(status=503),
    "429 with Retry-After": answers(status=429, headers={"Retry-After": "2"}),
    "hangs": answers(delay=60.0),
    "closes without an answer": answers(drop=True),
    "a slow answer": answers(drip=0.2),
    "a redirect": answers(status=302, headers={"Location": "https://elsewhere.test/"}),
    "garbage": answers(raw=b"\x00\xff\xfe<html>\r\n\r\n"),
    "a bad certificate": TLSCollector.show_a_bad_certificate,
    "no such name": TLSCollector.lose_its_name,
}


@pytest.mark.parametrize("name", FAULTS)
def test_people_chat_on_and_the_collector_is_told_later(
    site: Server, alice: ChatClient, collector: TLSCollector, name: str
) -> None:
    collector.heal()
    wait_until_all_is_delivered(site)
    FAULTS[name](collector)
    requests = collector.standin.ingestion_requests

    # To the first the collector's fault shows; the others begin and end while it does.
    assert alice.chat(Order().prompt).text == ANSWER
    wait_until(lambda: _attempts(site), 10, "an attempt that failed")
    with ThreadPoolExecutor(6) as pool:
        streams = list(pool.map(lambda _: alice.chat(Order().prompt), range(TURNS)))
    assert [stream.text for stream in streams] == [ANSWER] * TURNS
    assert [stream.errors for stream in streams] == [[]] * TURNS
    assert {turn["status"] for turn in turns_of(site)} == {"completed"}
    undelivered = site.query(
        "select event_id from observability_delivery where state <> 'delivered'"
    )
    assert len(undelivered) == TURNS + 1, "The fault outlasted them all."
    is_of_one_event = name in ("500s",)
    most = (TURNS + 1) * MOST_ATTEMPTS if is_of_one_event else MOST_PROBES
    assert collector.standin.ingestion_requests - requests <= most

    collector.heal()
    wait_until_all_is_delivered(site)
    assert {row["event_id"] for row in undelivered} <= set(collector.standin.event_ids)
    assert collector.standin.stray_requests == []


def _attempts(site: Server) -> bool:
    """Whether what is owed was tried in vain: also where no request came through."""
    return bool(
        site.query("select id from observability_delivery where state = 'pending' and attempts > 0")
    )


# -- an hour ---------------------------------------------------------------------------------------

STEP_SECONDS = times(1, 20)


class Clock:
    """``time.monotonic``, ahead by what a test says."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._real = time.monotonic

    def __call__(self) -> float:
        return self._real() + self.ahead


@pytest.mark.django_db
@pytest.mark.parametrize("status", [500, 503])
def test_an_hour_down_costs_a_bounded_number_of_requests_and_no_turn(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    with anosys_standin() as anosys:
        settings.ANOSYS_API_KEY = anosys.api_key
        settings.ANOSYS_RESOLVER_URL = anosys.resolver_url
        anosys.answer_always(Answer(status=status))
        worker = Worker()
        try:
            turns = [make_turn() for _ in range(5)]
            for turn in turns:
                outbox.enqueue_turn(turn)
            for _ in range(3600 // STEP_SECONDS):
                worker.run_once()
                _pass_time(clock)
            # Of a collector that is down about one in half a minute, once the pauses have grown; of
            # a fault that may be each event's own, ever fewer: in the end four an hour for each.
            assert anosys.ingestion_requests <= (170 if status == 503 else 5 * 30)
            assert anosys.ingested == []

            anosys.answer_always(Answer())
            for _ in range(1000 // STEP_SECONDS):
                worker.run_once()
                _pass_time(clock)
        finally:
            worker.courier.close()
        told = [event["event_id"] for event in anosys.ingested]
        assert sorted(told) == sorted(turn.trace_id for turn in turns)


def _pass_time(clock: Clock) -> None:
    """For the process, and for the rows, whose clock is the database's."""
    clock.ahead += STEP_SECONDS
    Delivery.objects.update(available_at=F("available_at") - timedelta(seconds=STEP_SECONDS))


# -- the address -----------------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[OpenAIStandin]:
    """As a proxy it hears, and refuses, whatever would leave this machine."""
    with openai_standin() as standin:
        yield standin


def test_without_an_address_nothing_is_sent_anywhere_and_everything_once_there_is_one(
    tmp_path: Path, elsewhere: OpenAIStandin
) -> None:
    with anosys_standin() as anosys:
        # Down when the site starts, and then for a while without a word of its key.
        anosys.resolve(Answer(status=503))
        right_key, anosys.api_key = anosys.api_key, "another key"
        environment = {**forwarding_to(anosys), "ANOSYS_API_KEY": right_key}
        with (
            django_server(
                tmp_path,
                settings_module=SETTINGS,
                SITE_SERVER=SPEAKER,
                HTTP_PROXY=elsewhere.url,
                HTTPS_PROXY=elsewhere.url,
                **environment,
            ) as server,
            ChatClient(server.url) as alice,
        ):
            alice.sign_in("alice")
            assert [alice.chat(Order().prompt).text for _ in range(3)] == [ANSWER] * 3
            wait_until(lambda: anosys.resolver_requests > 1, 30, "the refusal of the key")
            assert alice.chat(Order().prompt).text == ANSWER
            assert (anosys.events, anosys.stray_requests) == ([], [])
            assert server.log.count("Deliveries to Anosys wait") == 1

            anosys.api_key = right_key
            wait_until_all_is_delivered(server)
            assert len(set(anosys.event_ids)) == 4

            old_path = anosys.ingestion_path
            anosys.move("/trafficpixel/moved/ck/77")
            assert alice.chat(Order().prompt).text == ANSWER
            wait_until_all_is_delivered(server)
            assert len(set(anosys.event_ids)) == 5
            assert set(anosys.stray_requests) <= {old_path}
            asked = {(*query["apikey"], *query["type"]) for query in anosys.resolver_queries}
            assert asked == {(right_key, "chatkit")}
        assert elsewhere.requests == []

"""The worker: what a cycle does, and how its thread starts, survives and ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from observability import anosys, collector, courier, destinations, outbox, turns, worker
from observability.courier import Courier
from observability.models import Delivery, Turn
from observability.worker import Chore, Worker
from tests.observability.helpers import (
    add_message,
    enqueue,
    eventually,
    make_turn,
    run_python,
)
from tests.standins.anosys import AnosysStandin, Answer, anosys_standin

State = Delivery.State


@pytest.fixture
def standin(settings: Settings) -> Iterator[AnosysStandin]:
    with anosys_standin() as standin:
        settings.ANOSYS_API_KEY = standin.api_key
        settings.ANOSYS_RESOLVER_URL = standin.resolver_url
        yield standin


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers come to events in the order in which tests give them."""
    monkeypatch.setattr(courier, "AT_ONCE", 1)


@pytest.fixture
def loop() -> Iterator[Worker]:
    """A worker that the test drives, without a thread."""
    loop = Worker()
    yield loop
    loop.courier.close()


@pytest.fixture
def chores(monkeypatch: pytest.MonkeyPatch) -> list[Chore]:
    """None but those that the test asks for."""
    chores: list[Chore] = []
    monkeypatch.setattr(worker, "_chores", chores)
    return chores


@pytest.fixture
def thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets the test start a worker, as in a process that has had none yet, and ends it."""
    monkeypatch.setattr(worker, "_process", worker._Process())
    yield
    worker.stop(5)
    assert not worker_threads()


@pytest.fixture
def resting(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set while the worker's thread waits for something to do."""
    resting = threading.Event()
    sleep = Worker._sleep

    def rest(loop: Worker) -> None:
        resting.set()
        sleep(loop)
        resting.clear()

    monkeypatch.setattr(Worker, "_sleep", rest)
    return resting


def worker_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == worker.THREAD_NAME]


def states() -> list[str]:
    return list(Delivery.objects.order_by("pk").values_list("state", flat=True))


def make_due() -> None:
    Delivery.objects.filter(state=State.PENDING).update(available_at=Now())


@pytest.mark.django_db
class TestACycle:
    def test_it_delivers_what_is_due(self, loop: Worker, standin: AnosysStandin) -> None:
        turn = make_turn()
        add_message(turn, "prompt", "What is the time?")
        enqueue(turn)
        loop.run_once()
        assert [event["event_id"] for event in standin.events] == [turn.trace_id]
        assert standin.events[0]["messages"][0]["text"] == "What is the time?"
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.last_status) == (State.DELIVERED, 200)
        assert loop.run_once() is False
        assert standin.ingestion_requests == 1

    def test_a_backlog_is_delivered_in_order_over_one_connection(
        self, loop: Worker, standin: AnosysStandin
    ) -> None:
        expected = [enqueue().event_id for _ in range(100)]
        # A batch that is full, so that there may be more, and one that is not.
        assert loop.run_once() is True
        assert loop.run_once() is False
        assert standin.event_ids == expected
        assert standin.connections <= 2  # One of them for the resolver.

    def test_idle_it_asks_the_database_little_and_the_network_nothing(
        self, loop: Worker, standin: AnosysStandin, django_assert_max_num_queries
    ) -> None:
        loop.run_once()
        with django_assert_max_num_queries(1):
            assert loop.run_once() is False
        assert standin.connections == 0

    def test_what_apps_want_done_now_and_then_is_done_then(
        self, chores: list[Chore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        done: list[str] = []
        worker.every(10, lambda: done.append("often"))
        worker.every(600, lambda: done.append("rarely"))
        loop = Worker()
        loop.run_once()
        assert done == []
        now += 15  # Half as long again as asked for, at most.
        loop.run_once()
        loop.run_once()
        assert done == ["often"]
        now += 75
        loop.run_once()
        assert done == ["often", "often", "rarely"]
        now += 15
        loop.run_once()
        assert done == ["often", "often", "rarely", "often"]
        loop.courier.close()

    def test_a_chore_that_fails_is_told_by_its_type_and_costs_nothing_else(
        self,
        chores: list[Chore],
        standin: AnosysStandin,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        words = "what a visitor wrote"

        def fail() -> None:
            raise PermissionError(words)

        done: list[str] = []
        worker.every(0, fail)
        worker.every(0, lambda: done.append("other"))
        enqueue()
        loop = Worker()
        loop.run_once()
        loop.courier.close()
        assert done == ["other"]
        assert standin.ingestion_requests == 1
        assert "The worker goes on after PermissionError" in caplog.text
        assert words not in caplog.text

    def test_the_chat_has_its_forgotten_uploads_swept(self) -> None:
        from chatkit_endpoint.retention import SWEEP_INTERVAL, sweep_unsent

        assert Chore(SWEEP_INTERVAL, sweep_unsent) in worker._chores

    def test_without_a_destination_it_only_keeps_house(
        self, loop: Worker, standin: AnosysStandin, settings: Settings
    ) -> None:
        enqueue()
        settings.ANOSYS_API_KEY = ""
        assert loop.run_once() is False
        assert states() == [State.PENDING]
        assert standin.connections == 0

    def test_a_refusal_for_now_is_tried_again_and_one_for_good_is_not(
        self, loop: Worker, standin: AnosysStandin
    ) -> None:
        for _ in range(3):
            enqueue()
        standin.answer(Answer(status=500), Answer(status=422), Answer(drop=True))
        loop.run_once()
        assert states() == [State.PENDING, State.DEAD, State.PENDING]
        assert list(
            Delivery.objects.order_by("pk").values_list("attempts", "last_status", "last_error")
        ) == [(1, 500, "HTTP 500"), (1, 422, "HTTP 422"), (1, None, "RemoteProtocolError")]
        make_due()
        # One that dropped the connection is left alone for a moment.
        eventually(lambda: loop.run_once() or State.PENDING not in states())
        assert states() == [State.DELIVERED, State.DEAD, State.DELIVERED]

    def test_retry_after_is_obeyed(self, loop: Worker, standin: AnosysStandin) -> None:
        enqueue()
        standin.answer(Answer(status=429, headers={"Retry-After": "300"}))
        loop.run_once()
        wait = Delivery.objects.get().available_at - timezone.now()
        assert timedelta(seconds=290) < wait <= timedelta(seconds=301)

    def test_one_that_is_always_refused_holds_up_no_other(
        self, loop: Worker, standin: AnosysStandin
    ) -> None:
        poison = enqueue()
        others = [enqueue().event_id for _ in range(30)]
        standin.answer(Answer(status=500))
        while loop.run_once():
            pass
        assert set(others) <= {event["event_id"] for event in standin.ingested}
        poison.refresh_from_db()
        assert poison.attempts == 1 or poison.state == State.DELIVERED

    @pytest.mark.parametrize("gone", ["text", "turn"])
    def test_what_was_purged_before_the_claim_is_not_sent(
        self, loop: Worker, standin: AnosysStandin, gone: str
    ) -> None:
        turn = make_turn()
        enqueue(turn)
        purge(turn, gone)
        loop.run_once()
        assert states() == [State.PURGED]
        assert standin.ingestion_requests == 0

    @pytest.mark.parametrize("gone", ["text", "turn"])
    def test_what_is_purged_after_the_claim_is_not_sent_either(
        self,
        loop: Worker,
        standin: AnosysStandin,
        monkeypatch: pytest.MonkeyPatch,
        gone: str,
    ) -> None:
        turn = make_turn()
        enqueue(turn)
        claim = outbox.claim

        def claim_then_purge(*args) -> list[Delivery]:
            claimed = claim(*args)
            purge(turn, gone)
            return claimed

        monkeypatch.setattr(outbox, "claim", claim_then_purge)
        loop.run_once()
        assert states() == [State.PURGED]
        assert standin.ingestion_requests == 0

    def test_a_lease_lost_while_sending_leaves_the_row_to_its_new_owner(
        self, loop: Worker, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        enqueue()
        tell = anosys.Anosys.tell

        def slowly(
            client: anosys.Anosys, events: list[dict[str, object]]
        ) -> list[destinations.Outcome]:
            outcomes = tell(client, events)
            Delivery.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
            [taken_over] = outbox.claim(1)
            assert outbox.delivered([taken_over], status=201)
            return outcomes

        monkeypatch.setattr(anosys.Anosys, "tell", slowly)
        loop.run_once()
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.last_status) == (State.DELIVERED, 201)
        assert loop.courier.outcomes.total() == 0

    def test_nothing_is_sent_under_a_lease_that_is_about_to_end(
        self, loop: Worker, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        enqueue()
        monkeypatch.setattr(courier, "LEASE_MARGIN_SECONDS", outbox.LEASE_SECONDS + 1)
        assert loop.run_once() is False
        assert (standin.ingestion_requests, states()) == (0, [State.PENDING])

    def test_without_an_address_nothing_is_claimed_and_no_attempt_counted(
        self, loop: Worker, standin: AnosysStandin
    ) -> None:
        enqueue()
        standin.resolve(Answer(status=401))
        assert loop.run_once() is False
        assert (states(), Delivery.objects.get().attempts) == ([State.PENDING], 0)

    def test_an_address_that_fails_in_mid_batch_releases_the_rest(
        self, loop: Worker, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(anosys, "backoff_seconds", lambda attempts: 60)
        for _ in range(5):
            enqueue()
        standin.answer(Answer(), Answer(status=404))
        loop.run_once()
        assert standin.ingestion_requests == 2
        assert states() == [State.DELIVERED, *[State.PENDING] * 4]
        assert list(Delivery.objects.order_by("pk").values_list("attempts", flat=True)) == [
            *(1, 1),
            *(0, 0, 0),
        ]

    def test_a_batch_that_an_exception_broke_off_is_given_back_in_the_next_cycle(
        self, loop: Worker, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(3):
            enqueue()
        with monkeypatch.context() as patch:
            patch.setattr(outbox, "delivered", lambda *args, **kwargs: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                loop.run_once()
        assert states() == [State.LEASED] * 3
        loop.run_once()
        assert states() == [State.DELIVERED] * 3

    def test_a_delivery_that_is_72_hours_old_is_given_up(
        self, loop: Worker, standin: AnosysStandin
    ) -> None:
        enqueue()
        Delivery.objects.update(created_at=Now() - timedelta(hours=73))
        standin.answer(Answer(status=500))
        loop.run_once()
        assert states() == [State.DEAD]


def purge(turn: Turn, what: str) -> None:
    if what == "turn":
        turn.delete()
    else:
        Turn.objects.filter(pk=turn.pk).update(prompt="", text_purged_at=Now())


@pytest.mark.django_db
class TestHousekeeping:
    def test_orphaned_turns_are_swept_and_forwarded(
        self, loop: Worker, standin: AnosysStandin
    ) -> None:
        turn = make_turn(
            status=Turn.Status.RUNNING, lease_expires_at=timezone.now() - timedelta(seconds=1)
        )
        loop.run_once()
        turn.refresh_from_db()
        assert turn.status == Turn.Status.INTERRUPTED
        assert [event["cvs8"] for event in standin.events] == ["interrupted"]

    def test_leases_are_renewed_three_times_per_lease_and_turns_swept_once(
        self, loop: Worker, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        settings.OBSERVABILITY_LEASE_SECONDS = 30
        calls: list[str] = []
        now = time.monotonic()
        clock = {"now": now}
        monkeypatch.setattr(time, "monotonic", lambda: clock["now"])
        monkeypatch.setattr(turns, "renew_live_leases", lambda: calls.append("renew"))
        monkeypatch.setattr(turns, "sweep", lambda: calls.append("sweep"))
        for second in range(90):
            clock["now"] = now + second + 0.001
            loop.run_once()
        assert calls.count("renew") == 9
        assert calls.count("sweep") == 3

    def test_a_slow_collector_does_not_hold_up_the_renewal(
        self,
        loop: Worker,
        standin: AnosysStandin,
        monkeypatch: pytest.MonkeyPatch,
        settings: Settings,
    ) -> None:
        settings.OBSERVABILITY_LEASE_SECONDS = 3
        renewals: list[int] = []
        monkeypatch.setattr(
            turns, "renew_live_leases", lambda: renewals.append(standin.ingestion_requests)
        )
        for _ in range(3):
            enqueue()
        # It hangs, and is asked on all the same.
        monkeypatch.setattr(collector, "backoff_seconds", lambda attempts: 0.0)
        standin.answer_always(Answer(delay=60))
        loop.run_once()
        assert renewals == [0, 1, 2]

    def test_housekeeping_that_fails_does_not_stop_deliveries(
        self, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turns, "sweep", lambda: 1 / 0)
        loop = Worker()
        enqueue()
        with pytest.raises(ZeroDivisionError):
            loop.run_once()
        loop.run_once()
        assert states() == [State.DELIVERED]
        loop.courier.close()


@pytest.mark.django_db
class TestWaiting:
    def test_woken_it_goes_on_at_once_but_only_once(self, loop: Worker) -> None:
        loop.run_once()
        loop.wake()
        started = time.monotonic()
        loop._sleep()
        assert time.monotonic() - started < 0.45
        loop._sleep()
        assert time.monotonic() - started > 0.45

    def test_woken_again_and_again_it_sends_once_a_second(
        self, loop: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop.run_once()
        waits: list[float] = []
        monkeypatch.setattr(loop._ending, "wait", waits.append)
        for _ in range(3):
            loop.wake()
            loop._sleep()
        assert waits == pytest.approx([0.25, 1.25, 2.25], abs=0.2)

    def test_polls_grow_rare_while_there_is_nothing_to_do(
        self, loop: Worker, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        settings.OBSERVABILITY_LEASE_SECONDS = 300
        waits: list[float] = []
        monkeypatch.setattr(loop._wake, "wait", waits.append)
        loop.run_once()
        for _ in range(50):
            loop._sleep()
        assert 0.5 <= waits[0] <= 1.5
        assert all(2.5 <= wait <= 5 for wait in waits[5:])
        # Jittered, so that processes that started together don't poll together.
        assert len(set(waits[5:])) > 10

    def test_it_never_sleeps_through_a_renewal(
        self, loop: Worker, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        settings.OBSERVABILITY_LEASE_SECONDS = 1.2
        waits: list[float] = []
        monkeypatch.setattr(loop._wake, "wait", waits.append)
        loop.run_once()
        for _ in range(20):
            loop._sleep()
        assert max(waits) <= 0.4


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("thread")
class TestTheThread:
    def test_what_is_enqueued_goes_out_at_once(
        self,
        standin: AnosysStandin,
        monkeypatch: pytest.MonkeyPatch,
        resting: threading.Event,
        settings: Settings,
    ) -> None:
        # So rarely that it can't be the polling that finds it.
        monkeypatch.setattr(worker, "POLL_SECONDS", 100)
        monkeypatch.setattr(worker, "IDLE_POLL_SECONDS", 100)
        settings.OBSERVABILITY_LEASE_SECONDS = 300
        worker.start()
        for count in range(1, 6):
            assert resting.wait(5)
            enqueue()
            standin.wait_for(count)
            eventually(lambda: set(states()) == {State.DELIVERED})

    def test_what_another_process_enqueued_is_found_by_polling(
        self, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker.start()
        monkeypatch.setattr(worker, "wake", lambda: None)
        enqueue()
        standin.wait_for(1)

    def test_it_starts_once(self) -> None:
        for _ in range(3):
            worker.start()
        assert len(worker_threads()) == 1
        assert worker.is_alive()
        assert worker_threads()[0].daemon

    def test_in_a_test_run_it_does_not_start_by_itself(self) -> None:
        worker.wake()
        worker.ensure_running()
        assert not worker.is_alive()

    def test_after_a_stop_only_a_start_starts_it_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr("django.core.mail.outbox")
        worker.start()
        worker.stop(5)
        worker.wake()
        assert not worker.is_alive()
        worker.start()
        assert worker.is_alive()

    def test_elsewhere_the_first_delivery_starts_it(
        self, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr("django.core.mail.outbox")
        enqueue()
        standin.wait_for(1)
        assert worker.is_alive()

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_a_thread_that_died_is_started_again_and_said(
        self,
        standin: AnosysStandin,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Courier, "deliver", _raise_system_exit)
            worker.start()
            eventually(lambda: not worker.is_alive())
        monkeypatch.delattr("django.core.mail.outbox")
        enqueue()
        standin.wait_for(1)
        assert "thread had died" in caplog.text

    @pytest.mark.parametrize("kind", [ValueError, OperationalError, MemoryError, RecursionError])
    def test_a_cycle_that_fails_is_said_without_its_text_and_survived(
        self,
        standin: AnosysStandin,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        kind: type[Exception],
    ) -> None:
        failures = [kind("canary" + "-text")]

        def failing_once(courier: Courier) -> int:
            if failures:
                raise failures.pop()
            return deliver(courier)

        deliver = Courier.deliver
        monkeypatch.setattr(Courier, "deliver", failing_once)
        enqueue()
        worker.start()
        standin.wait_for(1)
        assert f"The worker goes on after {kind.__name__}" in caplog.text
        assert "failing_once" in caplog.text
        assert "canary-text" not in caplog.text

    def test_where_no_thread_can_be_had_the_table_keeps_what_is_due(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            worker.start()
        assert not worker.is_alive()
        assert "could not start" in caplog.text

    def test_a_stop_sends_what_is_due(self, standin: AnosysStandin) -> None:
        worker.start()
        eventually(worker.is_alive)
        count = 30
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker, "wake", lambda: None)
            for _ in range(count):
                enqueue()
        worker.stop(5)
        assert standin.ingestion_requests == count
        assert states() == [State.DELIVERED] * count

    def test_a_stop_in_mid_request_gives_everything_back_in_time(
        self, standin: AnosysStandin
    ) -> None:
        standin.answer_always(Answer(delay=60))
        for _ in range(3):
            enqueue()
        worker.start()
        standin.wait_for(1)
        started = time.monotonic()
        worker.stop(1.0)
        assert time.monotonic() - started < 3
        assert not worker_threads()
        assert states() == [State.PENDING] * 3
        # The one that was on its way may have arrived, and counts; the others were not tried.
        assert list(Delivery.objects.order_by("pk").values_list("attempts", flat=True)) == [1, 0, 0]

    def test_an_idle_worker_stops_at_once(self, resting: threading.Event) -> None:
        worker.start()
        assert resting.wait(5)
        started = time.monotonic()
        worker.stop(5)
        assert time.monotonic() - started < 3

    def test_what_others_enqueue_without_end_does_not_keep_it(
        self, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch, resting: threading.Event
    ) -> None:
        def deliver_and_find_more(courier: Courier) -> int:
            tried = deliver(courier)
            enqueue()
            return tried

        deliver = Courier.deliver
        worker.start()
        assert resting.wait(5)
        enqueue()
        monkeypatch.setattr(Courier, "deliver", deliver_and_find_more)
        started = time.monotonic()
        worker.stop(10)
        assert time.monotonic() - started < 5
        assert standin.events

    def test_a_stop_without_a_worker_is_nothing(self) -> None:
        worker.stop(5)
        worker.stop(5)

    def test_it_holds_no_connection_while_idle(
        self, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held: list[bool] = []
        sleep = Worker._sleep

        def look_and_sleep(loop: Worker) -> bool:
            held.append(connection.connection is not None)
            return sleep(loop)

        monkeypatch.setattr(Worker, "_sleep", look_and_sleep)
        enqueue()
        worker.start()
        standin.wait_for(1)
        eventually(lambda: len(held) > 1)
        assert not any(held)

    @pytest.mark.skipif(
        connection.vendor != "sqlite", reason="A pool's connections are given back at once."
    )
    def test_one_that_was_woken_keeps_its_connection_until_nothing_comes(
        self, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held: list[tuple[bool, bool]] = []
        sleep = Worker._sleep

        def look_and_sleep(loop: Worker) -> bool:
            is_held = connection.connection is not None
            was_woken = sleep(loop)
            held.append((was_woken, is_held))
            return was_woken

        monkeypatch.setattr(Worker, "_sleep", look_and_sleep)
        worker.start()
        enqueue()
        worker.wake()
        standin.wait_for(1)
        eventually(lambda: len(held) > 3 and not held[-1][0] and not held[-2][0])
        woken = next(number for number, (was_woken, _) in enumerate(held) if was_woken)
        assert [is_held for _, is_held in held[woken + 1 : woken + 3]] == [True, False]


def _raise_system_exit(courier: Courier) -> bool:
    raise SystemExit


@pytest.mark.django_db
def test_neither_text_nor_key_nor_address_is_logged_or_stored(
    loop: Worker,
    standin: AnosysStandin,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(collector, "REQUEST_SECONDS", 1.0)
    # It is down now and then, and asked on all the same.
    monkeypatch.setattr(collector, "backoff_seconds", lambda attempts: 0.0)
    for logger in ("", "httpx", "httpcore"):  # As on a site that logs all it can.
        caplog.set_level(logging.DEBUG, logger)
    # The SQL of SQLite's and PostgreSQL's own debug log quotes everything; nobody runs with it.
    logging.getLogger("django.db.backends").setLevel(logging.INFO)
    for _ in range(6):
        turn = make_turn(prompt="canary-text", response="canary-text")
        add_message(turn, "prompt", "canary-text")
        enqueue(turn)
    standin.answer(
        Answer(),
        Answer(status=422, body=b"canary-text"),
        Answer(status=503),
        Answer(drop=True),
        Answer(delay=60),
        Answer(status=403),
    )
    loop.run_once()
    assert standin.ingestion_requests == 6
    said = caplog.text + str(list(Delivery.objects.values()))
    for secret in ("canary-text", standin.api_key, standin.ingestion_path):
        assert secret not in said


# -- processes -------------------------------------------------------------------------------------

PRELUDE = """
import atexit, os, threading, time
ended = []
# The first that is registered is called last: after the worker's own.
atexit.register(lambda: print(time.monotonic() - ended[0]) if ended else None)
from django.conf import settings
# A pool can't be carried over a fork; what is tested here is the worker.
settings.DATABASES["default"].get("OPTIONS", {}).pop("pool", None)
import django
django.setup()
from django.db import connections, transaction
from observability import outbox, worker
from observability.models import Turn

def enqueue():
    with transaction.atomic():
        outbox.enqueue_turn(Turn.objects.earliest("pk"))
    connections.close_all()

def threads():
    return [each.name for each in threading.enumerate() if each.name == worker.THREAD_NAME]
"""


def run_process(code: str, standin: AnosysStandin, **environment: str) -> str:
    return run_python(
        PRELUDE + code,
        ANOSYS_API_KEY=standin.api_key,
        ANOSYS_RESOLVER_URL=standin.resolver_url,
        **environment,
    )


@pytest.mark.django_db(transaction=True)
class TestProcesses:
    def test_neither_an_import_nor_a_command_starts_it(self, standin: AnosysStandin) -> None:
        make_turn()
        run_process(
            """
from django.core.management import call_command
import chatsite.urls, chatsite.asgi, observability.admin
for command in (["check"], ["migrate", "--verbosity=0"], ["makemigrations", "--check"]):
    call_command(*command)
assert threads() == [], threads()
""",
            standin,
        )
        assert standin.connections == 0

    def test_the_first_delivery_of_a_process_starts_it(self, standin: AnosysStandin) -> None:
        make_turn()
        run_process(
            """
enqueue()
assert threads() == [worker.THREAD_NAME]
""",
            standin,
        )
        # Sent while the process ended, which it delays for as long as it is allowed to.
        assert standin.ingestion_requests == 1
        assert states() == [State.DELIVERED]

    def test_the_end_of_a_process_can_still_look_a_name_up(self, standin: AnosysStandin) -> None:
        make_turn()
        run_process(
            """
is_ending = []
has_due = outbox.has_due
outbox.has_due = lambda destination: bool(is_ending) and has_due(destination)
# The last that is registered is called first: before the worker's own.
atexit.register(lambda: is_ending.append(True))
enqueue()
""",
            standin,
            ANOSYS_INGESTION_URL=f"http://localhost:{standin.port}{standin.ingestion_path}",
        )
        assert states() == [State.DELIVERED]

    def test_each_forked_child_has_a_worker_of_its_own(self, standin: AnosysStandin) -> None:
        children = 8
        make_turn()
        run_process(
            f"""
# Forked while a thread is inside SQLite, a child hangs there, whoever's thread it is.
resting = threading.Event()
sleep = worker.Worker._sleep
worker.Worker._sleep = lambda loop: (resting.set(), sleep(loop))
worker.POLL_SECONDS = worker.IDLE_POLL_SECONDS = 60
worker.start()
assert resting.wait(20)
turn = Turn.objects.get()
connections.close_all()
for number in range({children}):
    # At its worst: the lock that starts the thread is held by a thread that the child lacks.
    holder = threading.Event()
    def hold():
        with worker._process.lock:
            holder.set()
            time.sleep(0.05)
    keeper = threading.Thread(target=hold)
    keeper.start()
    holder.wait()
    pid = os.fork()
    if pid == 0:
        assert worker._process.pid == os.getpid()
        assert threads() == [] and not worker.is_alive()
        turn.pk, turn.trace_id = None, f"child{{number:027d}}"
        with transaction.atomic():
            turn.save()
            outbox.enqueue_turn(turn)
        assert worker.is_alive()
        worker.stop(10)
        os._exit(0)
    keeper.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert worker.is_alive()
enqueue()
worker.stop(10)
""",
            standin,
        )
        assert sorted(standin.event_ids[:children]) == [
            f"child{number:027d}" for number in range(children)
        ]
        assert standin.ingestion_requests == children + 1

    @pytest.mark.parametrize(
        "state",
        [
            "idle",
            "in a request that hangs",
            "while the address is looked for",
            "while a name is looked up",
        ],
    )
    def test_it_delays_the_end_of_its_process_by_no_more_than_it_may(
        self, standin: AnosysStandin, state: str
    ) -> None:
        make_turn()
        hanging = Answer(delay=60)
        if state == "in a request that hangs":
            standin.answer_always(hanging)
        if state == "while the address is looked for":
            standin.resolve(hanging, hanging)
        delay = run_process(
            f"""
import socket
if {state!r} == "while a name is looked up":
    settings.ANOSYS_INGESTION_URL = "http://collector.example/"
    socket.getaddrinfo = lambda *args, **kwargs: time.sleep(30)
worker.start()
if {state!r} != "idle":
    enqueue()
    time.sleep(1)
ended.append(time.monotonic())
""",
            standin,
        )
        # It may take two seconds, idle it needs none; the rest is for a busy machine.
        assert float(delay) < (1.5 if state == "idle" else 3.5)
        assert states() in ([], [State.PENDING])

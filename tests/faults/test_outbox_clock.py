"""Clocks that jump: nothing is lost, nothing waits for the time to come again, no storm breaks out.

The wall clock is that of the workers' hosts. SQLite's is the same one: its ``strftime`` is replaced
in every connection. PostgreSQL's is its server's, which no worker can set.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.models.functions import Now

from observability import courier, worker
from observability.models import Delivery
from tests.faults import outbox_children
from tests.faults.outbox_processes import Nursery, enqueue, enqueue_many, wait_until_settled
from tests.faults.outbox_receiver import Receiver, answer
from tests.faults.scale import times
from tests.observability.helpers import eventually

HOUR = 3600.0
DAY = 24 * HOUR
LEASE_SECONDS = 3.0
QUICK = {
    "observability.outbox.LEASE_SECONDS": LEASE_SECONDS,
    "observability.courier.LEASE_MARGIN_SECONDS": 1.0,
    "observability.collector.REQUEST_SECONDS": 1.0,
}


class Clock:
    """The wall clock of the test's own connection, and of children that are told of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.jump_to(0)

    def jump_to(self, ahead: float) -> None:
        self.path.write_text(str(ahead), encoding="ascii")


@pytest.fixture
def clock(transactional_db: None, tmp_path: Path) -> Iterator[Clock]:
    clock = Clock(tmp_path / "ahead")
    connection.ensure_connection()
    outbox_children.set_database_clock(connection, clock.path)
    yield clock
    connection.close()


@pytest.mark.parametrize("ahead", [HOUR, -HOUR, DAY])
def test_a_clock_that_jumps_in_mid_run_loses_and_holds_up_nothing(
    nursery: Nursery, receiver: Receiver, clock: Clock, ahead: float
) -> None:
    receiver.always(answer(200, delay=0.05))
    settings = {"ANOSYS_INGESTION_URL": receiver.url, "OBSERVABILITY_LEASE_SECONDS": 3}
    workers = [
        nursery.fork("work_by_clock", str(clock.path), settings=settings, values=QUICK)
        for _ in range(3)
    ]
    expected = set()
    for number in range(times(200, 30)):
        expected.update(enqueue_many(4))
        if number == 10:
            workers[0].kill()  # With a lease of the old time, as likely as not.
            clock.jump_to(ahead)
        time.sleep(0.05)
    wait_until_settled(2 * LEASE_SECONDS + worker.IDLE_POLL_SECONDS + 5)
    assert set(receiver.stored) == expected
    assert not Delivery.objects.exclude(state=Delivery.State.DELIVERED).exists()
    # Of SQLite's, a jump ahead ends all leases at once; of the kill there are some at any rate.
    is_released = connection.vendor == "sqlite" and ahead > 0
    assert receiver.duplicates <= courier.AT_ONCE + (2 * courier.BATCH if is_released else 0)
    assert [each.exit_code for each in workers[1:]] == [None, None]


def test_what_waits_for_a_time_that_was_set_back_is_sent_all_the_same(
    nursery: Nursery, receiver: Receiver, clock: Clock
) -> None:
    clock.jump_to(HOUR)
    far = Now() + timedelta(seconds=HOUR)
    expected = enqueue_many(5, available_at=far)
    expected += enqueue_many(5, available_at=far, attempts=3)
    leased = {"state": Delivery.State.LEASED, "lease_token": uuid.uuid4()}
    expected += enqueue_many(5, lease_expires_at=far, **leased)
    clock.jump_to(0)
    settings = {"ANOSYS_INGESTION_URL": receiver.url, "OBSERVABILITY_LEASE_SECONDS": 3}
    nursery.fork("work_by_clock", str(clock.path), settings=settings, values=QUICK)
    wait_until_settled(2 * LEASE_SECONDS + worker.IDLE_POLL_SECONDS + 5)
    assert set(receiver.stored) == set(expected)


def test_a_jump_ahead_makes_no_storm_of_what_waits(
    nursery: Nursery, receiver: Receiver, clock: Clock
) -> None:
    count = times(2000, 100)
    soon = Now() + timedelta(minutes=10)
    enqueue_many(count, attempts=12, available_at=soon)
    receiver.always(answer(500))
    settings = {"ANOSYS_INGESTION_URL": receiver.url}
    nursery.fork("work_by_clock", str(clock.path), settings=settings)
    if connection.vendor == "sqlite":
        clock.jump_to(HOUR)
    else:  # Its own clock can't be set: so what waits is, which comes to the same.
        Delivery.objects.update(available_at=Now())
    eventually(lambda: not Delivery.objects.filter(attempts=12).exists(), 30 + count / 20)
    time.sleep(times(5, 1))
    # Each was due, and most now wait for minutes again.
    assert count <= len(receiver.received) <= count * 1.2
    assert Delivery.objects.outstanding().count() == count


@pytest.mark.django_db(transaction=True)
def test_a_clock_that_jumps_does_not_prolong_the_end_of_a_process(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_process", worker._Process())
    receiver.always(answer(200, delay=60))
    enqueue()
    worker.start()
    eventually(lambda: receiver.received)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - HOUR)
    started = time.monotonic()
    worker.stop(1.0)
    assert time.monotonic() - started < 3
    assert not worker.is_alive()

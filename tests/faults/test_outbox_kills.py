"""Workers that are killed: nothing is lost, nothing rolled back is sent, copies are few."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db.models.functions import Now

from observability import courier
from observability.models import Delivery
from tests.faults.outbox_processes import (
    Child,
    Nursery,
    enqueue,
    enqueue_many,
    expire_leases,
    wait_until_settled,
)
from tests.faults.outbox_receiver import OK, Conduct, Receiver, answer, raw, reset
from tests.faults.scale import times
from tests.observability.helpers import eventually

State = Delivery.State

LEASE_SECONDS = 4.0
HASTY = {
    "observability.outbox.LEASE_SECONDS": LEASE_SECONDS,
    "observability.outbox.BACKOFF_CAP_SECONDS": 2.0,
    "observability.courier.LEASE_MARGIN_SECONDS": 2.0,
    "observability.collector.REQUEST_SECONDS": 1.0,
    "observability.collector.PAUSE_CAP_SECONDS": 1.0,
}
"""So that what a dead worker has claimed is free again within seconds."""
WORKERS = 4
BACKLOG = 500


def capricious(chance: random.Random) -> Callable[[str], Conduct]:
    """An eighth of all posts goes wrong, before or after it was stored."""
    bad = [
        answer(429, "Retry-After: 1"),
        answer(500),
        answer(503),
        answer(200, delay=5),  # Stored, but nobody waits so long.
        reset(),
        reset(stores=True),
        raw(b"\x00 not HTTP"),
    ]
    weights = [2, 4, 1, 1, 2, 1, 1]

    def conduct(event_id: str) -> Conduct:
        if chance.random() < 1 / 8:
            return chance.choices(bad, weights)[0]
        return answer(200, delay=0.01)

    return conduct


class Murderer(threading.Thread):
    """Keeps four workers at work, and kills one of them every 0.2 to 0.8 seconds."""

    def __init__(self, chance: random.Random, hire: Callable[[], Child]) -> None:
        super().__init__()
        self.kills = 0
        self._chance = chance
        self._hire = hire
        self._workers = [hire() for _ in range(WORKERS)]
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.wait(self._chance.uniform(0.2, 0.8)):
            victim = self._chance.choice(self._workers)
            victim.kill()
            self.kills += 1
            self._workers[self._workers.index(victim)] = self._hire()

    def stop(self) -> None:
        self._is_over.set()
        self.join()


@contextmanager
def murderer(nursery: Nursery, receiver: Receiver, chance: random.Random) -> Iterator[Murderer]:
    settings = {"ANOSYS_INGESTION_URL": receiver.url}
    murderer = Murderer(chance, lambda: nursery.fork("work", settings=settings, values=HASTY))
    murderer.start()
    try:
        yield murderer
    finally:
        murderer.stop()


@pytest.mark.parametrize("seed", range(times(20, 2)))
def test_workers_that_are_killed_at_random_lose_nothing(
    nursery: Nursery, receiver: Receiver, seed: int
) -> None:
    is_perfect = seed % 2 == 1
    chance = random.Random(seed)  # noqa: S311
    conduct = capricious(random.Random(seed))  # noqa: S311
    receiver.conduct = (lambda event_id: answer(200, delay=0.01)) if is_perfect else conduct
    count = times(5000, 100)
    pause = times(8, 30) / 1000
    committed: set[str] = set()
    rolled_back: set[str] = set()
    with murderer(nursery, receiver, chance) as killed:
        for _ in range(count):
            # On a busy machine too, what is left at the end is a matter of leases, not of speed.
            eventually(lambda: Delivery.objects.outstanding().count() < BACKLOG, 60)
            fails = chance.random() < 0.1
            (rolled_back if fails else committed).add(enqueue(rolled_back=fails))
            time.sleep(pause)
    last_kill = time.monotonic()
    wait_until_settled(60)
    print(  # noqa: T201
        f"seed {seed}: {len(committed)} events, {killed.kills} kills, {receiver.duplicates} copies"
        f" too many, settled {time.monotonic() - last_kill:.1f} s after the last kill",
        flush=True,
    )
    received = {event_id for _, event_id in receiver.received}
    assert committed - set(receiver.stored) == set()
    assert received & rolled_back == set()
    assert set(Delivery.objects.values_list("state", flat=True)) == {State.DELIVERED}
    if is_perfect:
        # Only what was on its way when its worker died may come again.
        assert receiver.duplicates <= killed.kills * courier.AT_ONCE


ROWS = 3 * courier.AT_ONCE + 2
"""One that proves the collector, and four more parts of a batch."""

BEFORE_THE_POST = ("while it claims", "after the claim", "before the request")
AFTER_THE_POST = ("after the answer", "while it settles")


@pytest.mark.parametrize("point", [*BEFORE_THE_POST, *AFTER_THE_POST])
def test_a_worker_that_is_killed_at_its_worst_moment_loses_nothing(
    nursery: Nursery, receiver: Receiver, point: str
) -> None:
    settings = {"ANOSYS_INGESTION_URL": receiver.url}
    for number in range(times(25, 2)):
        receiver.stored.clear()
        expected = enqueue_many(ROWS)
        # Of the claim there is one; parts of the batch are sent one after another.
        passes = 1 if "claim" in point else 1 + number % 4
        victim = nursery.fork("work", settings=settings, dies=(point, passes))
        assert victim.wait() == -9
        expire_leases()
        heir = nursery.fork("claim_and_send", settings=settings)
        assert heir.wait() == 0, nursery.log
        assert set(receiver.stored) == set(expected)
        assert receiver.duplicates <= (0 if point in BEFORE_THE_POST else courier.AT_ONCE)
        assert not Delivery.objects.exclude(state=State.DELIVERED).exists()


def test_a_worker_that_is_killed_while_it_waits_for_an_answer_loses_nothing(
    nursery: Nursery, receiver: Receiver
) -> None:
    settings = {"ANOSYS_INGESTION_URL": receiver.url}
    for number in range(times(25, 2)):
        receiver.stored.clear()
        expected = enqueue_many(ROWS)
        at = len(receiver.received) + 1 + number % 12
        victim: list[Child] = []
        is_hired = threading.Event()

        def kill_or_answer(
            event_id: str,
            at: int = at,
            victim: list[Child] = victim,
            is_hired: threading.Event = is_hired,
        ) -> Conduct:
            if len(receiver.received) == at:
                is_hired.wait(10)
                victim[0].signal(9)
            return OK

        receiver.conduct = kill_or_answer
        victim.append(nursery.fork("work", settings=settings))
        is_hired.set()
        assert victim[0].wait() == -9
        expire_leases()
        heir = nursery.fork("claim_and_send", settings=settings)
        assert heir.wait() == 0, nursery.log
        assert set(receiver.stored) == set(expected)
        assert receiver.duplicates <= courier.AT_ONCE


def test_a_prune_that_is_killed_takes_nothing_that_waits(
    nursery: Nursery, receiver: Receiver
) -> None:
    settings = {"ANOSYS_INGESTION_URL": receiver.url}
    for number in range(times(25, 2)):
        receiver.stored.clear()
        Delivery.objects.all().delete()
        enqueue_many(20, state=State.DELIVERED, settled_at=Now())
        expected = enqueue_many(ROWS)
        passes = 1 + number % 4
        victim = nursery.fork("prune", settings=settings, dies=("while it prunes", passes))
        assert victim.wait() == -9
        assert Delivery.objects.outstanding().count() == ROWS
        assert Delivery.objects.filter(state=State.DELIVERED).count() == 20 - 5 * (passes - 1)
        heirs = [nursery.fork(does, settings=settings) for does in ("prune", "claim_and_send")]
        assert [heir.wait() for heir in heirs] == [0, 0], nursery.log
        assert set(receiver.stored) == set(expected)
        assert receiver.duplicates == 0

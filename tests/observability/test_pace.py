"""A purge does less at a time where others write, and lets them in between."""

from __future__ import annotations

import threading
from itertools import chain

import pytest
from django.db import connection

from observability import pace
from observability.pace import Pace
from tests.observability.helpers import make_turn

pytestmark = pytest.mark.django_db(transaction=True)

of_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="It has one writer.")
KEYS = list(range(10_000))


class Clock:
    """``time`` by hand: work takes what a test says, a pause nothing."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    thread_time = monotonic

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def somebody_writes() -> None:
    """On a connection of their own."""

    def write() -> None:
        try:
            make_turn()
        finally:
            connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()


def test_every_key_comes_once_and_in_order() -> None:
    paced = Pace()
    batches = [list(chain.from_iterable(paced.portions(KEYS[:250]))) for _ in range(2)]
    assert batches == [KEYS[:250]] * 2


@of_sqlite
def test_by_itself_it_takes_what_fits_into_a_tenth_of_a_second(clock: Clock) -> None:
    sizes = []
    for portion in Pace().portions(KEYS[:3_000]):
        sizes.append(len(portion))
        clock.now += len(portion) / 5_000
    assert sizes[:4] == [100, 200, 400, 500]
    assert set(sizes[4:-1]) == {500}
    assert clock.pauses[-1] == pytest.approx(0.01)


@of_sqlite
def test_what_takes_long_is_done_in_smaller_portions(clock: Clock) -> None:
    sizes = []
    for portion in Pace().portions(KEYS[:120]):
        sizes.append(len(portion))
        clock.now += len(portion) / 50
    assert sizes == [100, 5, 5, 5, 5]


@of_sqlite
def test_where_somebody_writes_it_takes_less_and_pauses_longer(clock: Clock) -> None:
    portions = Pace().portions(KEYS)
    next(portions)
    somebody_writes()
    clock.now += 0.1
    assert len(next(portions)) == 20
    assert clock.pauses[-1] == pytest.approx(0.2)
    # Nobody writes any more; for a while it stays as it is.
    clock.now += 0.02
    assert len(next(portions)) == 20
    assert clock.pauses[-1] == pytest.approx(0.04)
    clock.now += pace.POLITE_FOR
    next(portions)
    clock.now += 0.001
    assert len(next(portions)) > 1
    assert clock.pauses[-1] == pytest.approx(0.0001)


@of_sqlite
def test_its_own_writes_are_nobody_elses(clock: Clock) -> None:
    portions = Pace().portions(KEYS)
    next(portions)
    make_turn()
    clock.now += 0.1
    assert len(next(portions)) == 100


@pytest.mark.skipif(connection.vendor == "sqlite", reason="It has one writer.")
def test_where_nobody_waits_for_the_rows_of_others_a_batch_is_one_portion(clock: Clock) -> None:
    assert list(Pace().portions(KEYS)) == [KEYS]
    assert clock.pauses == []

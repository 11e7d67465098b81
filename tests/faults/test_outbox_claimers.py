"""Many workers on one outbox: each delivery is one worker's, and what waits is left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from observability import outbox, retention
from observability.models import Delivery, Turn
from tests.faults.outbox_processes import Nursery, enqueue_many, wait_until_settled
from tests.faults.outbox_receiver import OK, Receiver, answer
from tests.faults.scale import times
from tests.observability.helpers import eventually

State = Delivery.State


@pytest.mark.parametrize("count", [1, 2, 8, 16])
def test_workers_that_share_an_outbox_send_nothing_twice(
    nursery: Nursery, receiver: Receiver, count: int
) -> None:
    expected = enqueue_many(times(10_000, 240))
    settings = {"ANOSYS_INGESTION_URL": receiver.url}
    workers = [nursery.fork("claim_and_send", settings=settings) for _ in range(count)]
    # None was told of a database that is locked, or failed otherwise.
    assert [worker.wait(1800) for worker in workers] == [0] * count, nursery.log
    assert "locked" not in nursery.log
    assert not Delivery.objects.exclude(state=State.DELIVERED, attempts=1).exists()
    assert set(receiver.stored) == set(expected)
    assert receiver.duplicates == 0


def test_a_lease_that_ran_out_in_mid_request_leaves_the_row_to_who_took_it_over(
    nursery: Nursery, receiver: Receiver
) -> None:
    [event_id] = enqueue_many(1)
    impatient = {
        "observability.outbox.LEASE_SECONDS": 1.0,
        "observability.courier.LEASE_MARGIN_SECONDS": 0.0,
    }
    answers = [answer(200, delay=3), answer(201)]
    receiver.conduct = lambda event_id: answers.pop(0)
    settings = {"ANOSYS_INGESTION_URL": receiver.url}
    workers = [nursery.fork("work", settings=settings, values=impatient) for _ in range(2)]
    wait_until_settled(30)
    settled = Delivery.objects.values().get()
    assert (settled["state"], settled["last_status"], settled["attempts"]) == (
        State.DELIVERED,
        201,
        1,
    )
    eventually(lambda: receiver.stored[event_id] == 2)
    # The late answer is in as soon as its worker sends something else.
    receiver.conduct = lambda event_id: OK
    enqueue_many(20)
    wait_until_settled(30)
    assert Delivery.objects.values().get(event_id=event_id) == settled
    assert [worker.exit_code for worker in workers] == [None, None]
    assert nursery.log == ""


class Crowd:
    """Threads that do something over and over, until one of them is done or fails."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def add(self, work: Callable[[], bool]) -> None:
        """``work`` returns whether there is more to do."""

        def run() -> None:
            try:
                while not self.failures and work():
                    pass
            except BaseException as error:
                self.failures.append(error)
            finally:
                connection.close()

        self._threads.append(threading.Thread(target=run))

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join(600)
            assert not thread.is_alive()
        assert self.failures == []


@pytest.mark.django_db(transaction=True)
def test_pruning_claiming_and_deleting_at_once_neither_lock_up_nor_take_what_waits() -> None:
    long_ago = timezone.now() - timedelta(days=60)
    count = times(5000, 300)
    enqueue_many(count, state=State.DELIVERED, settled_at=long_ago)
    enqueue_many(count, state=State.DEAD, settled_at=long_ago)
    waiting = set(enqueue_many(count))
    sent: list[str] = []
    deleted: list[str] = []

    def claim_and_settle() -> bool:
        claimed = outbox.claim(7)
        if claimed:
            outbox.delivered(claimed[:5], status=200)
            for each in claimed[5:]:
                outbox.dead(each, status=400)
        sent.extend(each.event_id for each in claimed)
        return bool(claimed)

    def prune() -> bool:
        retention.delete_deliveries(timezone.now() - timedelta(days=30), lambda counts: None)
        return outbox.has_due(outbox.ANOSYS)

    def delete_turns() -> bool:
        """With what Django itself does about deliveries."""
        some = Turn.objects.filter(deliveries__state=State.PENDING).order_by("pk")[:5]
        found = list(some.values_list("pk", "trace_id"))
        Turn.objects.filter(pk__in=[pk for pk, _ in found]).delete()
        deleted.extend(trace_id for _, trace_id in found)
        return bool(found)

    def delete_settled() -> bool:
        old = Delivery.objects.filter(state=State.DEAD, settled_at__lte=long_ago)
        some = list(old.values_list("pk", flat=True)[:20])
        return bool(Delivery.objects.filter(pk__in=some).delete()[0])

    crowd = Crowd()
    for work in (claim_and_settle, claim_and_settle, prune, prune, delete_turns, delete_settled):
        crowd.add(work)
    crowd.run()
    assert set(sent) == waiting
    assert len(sent) == len(waiting)
    assert deleted
    # What waited was settled, and is too young to go.
    assert set(Delivery.objects.values_list("event_id", flat=True)) == waiting


@pytest.mark.django_db(transaction=True)
def test_what_is_sent_again_while_it_is_pruned_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue_many(3, state=State.DEAD, settled_at=timezone.now() - timedelta(days=60))
    batches = retention._batches

    def send_again_meanwhile(rows):
        for keys in batches(rows):
            outbox.send_again(Delivery.objects.filter(pk=keys[0]))
            yield keys

    monkeypatch.setattr(retention, "_batches", send_again_meanwhile)
    retention.delete_deliveries(timezone.now() - timedelta(days=30), lambda counts: None)
    assert Delivery.objects.get().state == State.PENDING


@pytest.mark.django_db(transaction=True)
def test_the_claim_finds_what_is_due_by_its_index_however_much_waits() -> None:
    count = times(100_000, 2000)
    enqueue_many(count // 2, available_at=Now() + timedelta(minutes=10), attempts=9)
    enqueue_many(count // 2)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    due = outbox._due(outbox.ANOSYS).order_by("available_at", "pk")
    plan = due[:50].explain()
    assert "delivery_due" in plan, plan
    assert "SORT" not in plan.upper(), plan
    assert len(outbox.claim(50)) == 50

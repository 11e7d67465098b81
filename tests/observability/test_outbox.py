"""The outbox: made with the turn, claimed by lease, settled once."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from observability import outbox, worker
from observability.models import Delivery, Turn
from tests.observability.helpers import enqueue, eventually, make_turn

State = Delivery.State


@pytest.fixture(autouse=True)
def anosys_is_on(settings: Settings) -> None:
    settings.ANOSYS_API_KEY = "a-key"


def claim_one() -> Delivery:
    [delivery] = outbox.claim(1)
    return delivery


def expire_leases() -> None:
    Delivery.objects.filter(state=State.LEASED).update(
        lease_expires_at=Now() - timedelta(seconds=1)
    )


def delivered(delivery: Delivery, status: int | None = None) -> Delivery.State | None:
    return State.DELIVERED if outbox.delivered([delivery], status=status) else None


class TestEnqueue:
    @pytest.mark.django_db(transaction=True)
    def test_a_turn_that_is_rolled_back_leaves_no_delivery(self) -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            outbox.enqueue_turn(make_turn())
            raise ZeroDivisionError
        assert not Delivery.objects.exists()

    @pytest.mark.django_db(transaction=True)
    def test_the_worker_is_woken_by_the_commit_and_not_before(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        woken: list[bool] = []
        monkeypatch.setattr(worker, "wake", lambda: woken.append(Delivery.objects.exists()))
        with transaction.atomic():
            outbox.enqueue_turn(make_turn())
            assert woken == []
        assert woken == [True]

    @pytest.mark.django_db(transaction=True)
    def test_a_worker_that_fails_to_wake_does_not_fail_the_turn(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker, "wake", lambda: 1 / 0)
        assert enqueue().state == State.PENDING

    @pytest.mark.django_db
    def test_it_names_the_turn_and_carries_its_trace_id(self) -> None:
        turn = make_turn()
        delivery = enqueue(turn)
        assert delivery.turn == turn
        assert delivery.event_id == turn.trace_id
        assert (delivery.destination, delivery.kind) == ("anosys", "turn")
        assert delivery.state == State.PENDING
        assert abs(timezone.now() - delivery.available_at) < timedelta(minutes=1)

    @pytest.mark.django_db
    def test_it_costs_the_turn_one_query(
        self, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        turn = make_turn()
        with django_assert_num_queries(1):
            outbox.enqueue_turn(turn)

    @pytest.mark.django_db
    def test_without_a_destination_it_does_nothing(
        self, settings: Settings, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        settings.ANOSYS_API_KEY = ""
        turn = make_turn()
        with django_assert_num_queries(0):
            outbox.enqueue_turn(turn)

    @pytest.mark.django_db
    def test_an_ingestion_url_is_as_good_as_a_key(self, settings: Settings) -> None:
        settings.ANOSYS_API_KEY = ""
        settings.ANOSYS_INGESTION_URL = "https://collector.example/in"
        assert enqueue().state == State.PENDING

    @pytest.mark.django_db
    @pytest.mark.parametrize("settle", [delivered, outbox.dead, outbox.purged, outbox.retry])
    def test_a_swept_turn_that_settles_after_all_is_sent_anew(self, settle) -> None:
        turn = make_turn()
        enqueue(turn)
        settle(claim_one())
        delivery = enqueue(turn)
        assert delivery.state == State.PENDING
        assert (delivery.attempts, delivery.last_status, delivery.last_error) == (0, None, "")
        assert delivery.settled_at is None
        assert claim_one().turn_id == turn.pk

    @pytest.mark.django_db
    def test_a_swept_turn_that_settles_while_it_is_being_sent_is_sent_anew(self) -> None:
        turn = make_turn()
        enqueue(turn)
        on_its_way = claim_one()
        enqueue(turn)
        assert delivered(on_its_way, status=200) is None
        assert claim_one().event_id == turn.trace_id

    @pytest.mark.django_db
    def test_a_turn_that_is_sent_anew_is_young_again(self) -> None:
        turn = make_turn()
        enqueue(turn)
        Delivery.objects.update(created_at=Now() - timedelta(days=30))
        assert timezone.now() - enqueue(turn).created_at < timedelta(minutes=1)


@pytest.mark.django_db
class TestClaim:
    def test_it_takes_the_longest_due_first(self) -> None:
        for minutes in (1, 3, 2):
            delivery = enqueue(make_turn(thread_id=f"thr_{minutes}"))
            Delivery.objects.filter(pk=delivery.pk).update(
                available_at=Now() - timedelta(minutes=minutes)
            )
        claimed = outbox.claim(2)
        assert [delivery.turn.thread_id for delivery in claimed if delivery.turn] == [
            "thr_3",
            "thr_2",
        ]

    def test_what_is_claimed_is_not_due(self) -> None:
        enqueue()
        claim_one()
        assert not outbox.has_due("anosys")
        assert outbox.claim(1) == []

    def test_what_is_not_due_yet_is_not_claimed(self) -> None:
        enqueue()
        Delivery.objects.update(available_at=Now() + timedelta(seconds=30))
        assert not outbox.has_due("anosys")
        assert outbox.claim(1) == []

    def test_another_destination_s_deliveries_are_left_alone(self) -> None:
        enqueue()
        Delivery.objects.update(destination="elsewhere")
        assert not outbox.has_due("anosys")
        assert outbox.claim(1) == []

    def test_the_lease_runs_for_its_time_by_the_database_s_clock(self) -> None:
        enqueue()
        claim_one()
        lease = timedelta(seconds=outbox.LEASE_SECONDS)
        leased = Delivery.objects.filter(
            lease_expires_at__gt=Now() + lease - timedelta(seconds=5),
            lease_expires_at__lte=Now() + lease,
        )
        assert leased.count() == 1

    @pytest.mark.parametrize("state", [State.DELIVERED, State.DEAD, State.PURGED])
    def test_what_is_settled_is_not_claimed(self, state: str) -> None:
        enqueue()
        Delivery.objects.update(state=state, settled_at=Now())
        assert outbox.claim(1) == []

    def test_an_idle_look_takes_no_write_lock(
        self, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(1) as queries:
            assert not outbox.has_due("anosys")
        assert queries.captured_queries[0]["sql"].startswith("SELECT")

    def test_an_expired_lease_is_taken_over(self) -> None:
        enqueue()
        first = claim_one()
        expire_leases()
        second = claim_one()
        assert second.pk == first.pk
        assert second.lease_token != first.lease_token


@pytest.mark.django_db(transaction=True)
def test_claimers_at_the_same_time_never_get_the_same_delivery() -> None:
    count = 120
    for _ in range(count):
        enqueue()
    claimed: list[list[int]] = [[] for _ in range(4)]
    failures: list[BaseException] = []
    together = threading.Barrier(len(claimed))

    def claim_all(mine: list[int]) -> None:
        try:
            together.wait()
            while outbox.has_due("anosys"):
                mine += [delivery.pk for delivery in outbox.claim(3)]
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=claim_all, args=(mine,)) for mine in claimed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    everything = [pk for mine in claimed for pk in mine]
    assert len(everything) == len(set(everything)) == count


@pytest.mark.django_db
class TestSettle:
    def test_delivered(self) -> None:
        enqueue()
        assert delivered(claim_one(), status=204) == State.DELIVERED
        delivery = Delivery.objects.get()
        assert delivery.state == State.DELIVERED
        assert (delivery.attempts, delivery.last_status) == (1, 204)
        assert delivery.lease_token is None
        assert delivery.settled_at is not None

    def test_dead_tells_why(self) -> None:
        enqueue()
        assert outbox.dead(claim_one(), status=400, error="HTTP 400" + "x" * 500) == State.DEAD
        delivery = Delivery.objects.get()
        assert delivery.state == State.DEAD
        assert delivery.last_status == 400
        assert delivery.last_error.startswith("HTTP 400")
        assert len(delivery.last_error) == 200

    def test_purged_was_no_attempt(self) -> None:
        enqueue()
        assert outbox.purged(claim_one()) == State.PURGED
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.attempts) == (State.PURGED, 0)
        assert delivery.settled_at is not None

    def test_a_retry_waits_at_least_as_long_as_the_collector_asked(self) -> None:
        enqueue()
        state = outbox.retry(claim_one(), status=429, error="HTTP 429", retry_after=100)
        assert state == State.PENDING
        delivery = Delivery.objects.get()
        assert delivery.attempts == 1
        assert delivery.settled_at is None
        assert delivery.lease_token is None
        wait = delivery.available_at - timezone.now()
        assert timedelta(seconds=95) < wait <= timedelta(seconds=101)

    def test_a_retry_of_an_old_delivery_is_its_end(self) -> None:
        enqueue()
        Delivery.objects.update(created_at=Now() - timedelta(hours=72, seconds=1))
        assert outbox.retry(claim_one(), status=503, error="HTTP 503") == State.DEAD
        assert Delivery.objects.get().last_error == "HTTP 503"

    def test_a_retry_of_a_younger_delivery_is_not(self) -> None:
        enqueue()
        Delivery.objects.update(created_at=Now() - timedelta(hours=71, minutes=59))
        assert outbox.retry(claim_one()) == State.PENDING

    @pytest.mark.parametrize("settle", [delivered, outbox.dead, outbox.purged, outbox.retry])
    def test_whoever_lost_the_lease_changes_nothing(self, settle) -> None:
        enqueue()
        late = claim_one()
        expire_leases()
        claim_one()
        before = Delivery.objects.values().get()
        assert settle(late) is None
        assert Delivery.objects.values().get() == before

    @pytest.mark.parametrize("settle", [delivered, outbox.dead, outbox.purged, outbox.retry])
    def test_nothing_is_settled_twice(self, settle) -> None:
        enqueue()
        delivery = claim_one()
        delivered(delivery, status=200)
        before = Delivery.objects.values().get()
        assert settle(delivery) is None
        assert Delivery.objects.values().get() == before

    def test_a_lease_given_back_is_due_at_once_and_was_no_attempt(self) -> None:
        enqueue()
        token = claim_one().lease_token
        assert token is not None
        assert outbox.release(token) == 1
        assert outbox.release(token) == 0
        delivery = claim_one()
        assert delivery.attempts == 0

    def test_a_lease_of_somebody_else_is_not_given_back(self) -> None:
        enqueue()
        claim_one()
        assert outbox.release(uuid.uuid4()) == 0

    def test_a_turn_that_was_deleted_leaves_its_delivery(self) -> None:
        enqueue()
        Turn.objects.all().delete()
        assert claim_one().turn is None

    @pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite writes one at a time.")
    @pytest.mark.django_db(transaction=True)
    def test_who_waits_for_a_row_of_a_batch_holds_no_other(self) -> None:
        first, second = enqueue(), enqueue()
        claimed = outbox.claim(2)
        settled: list[int] = []

        def settle() -> None:
            settled.append(outbox.delivered(claimed, status=200))
            connection.close()

        def is_settling_waiting() -> bool:
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                [count] = cursor.fetchone()
            return bool(count)

        settling = threading.Thread(target=settle)
        with transaction.atomic():
            Delivery.objects.filter(pk=second.pk).update(last_status=1)
            settling.start()
            eventually(is_settling_waiting)
            # It would never end if the row were held by who waits for this transaction.
            Delivery.objects.filter(pk=first.pk).update(last_error="seen")
        settling.join(10)
        assert settled == [2]
        states = Delivery.objects.values_list("state", "last_error", "last_status")
        assert set(states) == {(State.DELIVERED, "seen", 200), (State.DELIVERED, "", 200)}


class TestBackoff:
    @pytest.mark.parametrize("attempts", [0, 1, 2, 5, 9, 10, 580, 100_000])
    def test_it_is_jittered_below_a_ceiling_that_doubles_up_to_a_quarter_of_an_hour(
        self, attempts: int
    ) -> None:
        ceiling = min(900.0, 2.0**attempts) if attempts < 1000 else 900.0
        waits = [outbox.backoff_seconds(attempts) for _ in range(500)]
        assert all(0 <= wait <= ceiling for wait in waits)
        # Full jitter: spread over all of it, not around its end.
        assert min(waits) < ceiling * 0.1
        assert max(waits) > ceiling * 0.9

    def test_what_the_collector_asks_is_a_floor(self) -> None:
        assert all(100 <= outbox.backoff_seconds(3, 100) <= 100 for _ in range(100))
        assert all(1 <= outbox.backoff_seconds(9, 1) <= 512 for _ in range(100))

    @pytest.mark.parametrize("retry_after", [901.0, 999_999.0, float("inf")])
    def test_a_collector_can_t_park_a_delivery(self, retry_after: float) -> None:
        assert outbox.backoff_seconds(0, retry_after) == 900

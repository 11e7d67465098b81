"""What is too old goes daily, by one process at a time, slice by slice."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from chatkit_endpoint import retention as chat_retention
from chatkit_endpoint.models import Thread
from observability import retention, retention_job
from observability.holds import place_on_turn
from observability.models import ClientEvent, Delivery, Message, RetentionRun, Rollup, Turn
from observability.retention_job import NO_PROGRESS, Report, tick
from observability.rollups import hour_of, hours_until, roll_up
from tests.factories import (
    make_client_event,
    make_delivery,
    make_operator,
    make_thread,
    make_turn,
    make_user,
)

pytestmark = pytest.mark.django_db(transaction=True)

OLD = timedelta(days=40)


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_job, "_tokens", {})


@pytest.fixture
def another_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Goes on as a process that knows nothing of this one."""
    return lambda: monkeypatch.setattr(retention_job, "_tokens", {})


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[retention_job.Step]:
    """None but those that the test adds."""
    steps: list[retention_job.Step] = []
    monkeypatch.setattr(retention_job, "_steps", steps)
    return steps


@pytest.fixture
def short_slices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A batch each, of one row."""
    monkeypatch.setattr(retention_job, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(retention, "IDS_AT_ONCE", 1)
    yield


@pytest.fixture(autouse=True)
def rolled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the worker had summed up all turns but those of this hour."""
    monkeypatch.setattr(retention_job, "hours_until", lambda: hour_of(timezone.now()))


def ticks_until_done() -> int:
    for count in itertools.count(1):
        tick()
        if not RetentionRun.objects.unfinished().exists():
            return count
    raise AssertionError


class TestWhatGoes:
    def test_by_default_conversations_and_turns_stay(self) -> None:
        make_thread(updated_at=timezone.now() - 9 * OLD)
        make_turn(age=9 * OLD)
        tick()
        assert (Thread.objects.count(), Turn.objects.with_text().count()) == (1, 1)
        assert RetentionRun.objects.get().counts == {}

    def test_first_the_text_of_a_turn_goes_and_later_the_turn(self, settings: Settings) -> None:
        settings.THREAD_RETENTION_DAYS, settings.TRACE_RETENTION_DAYS = 30, 60
        make_thread(key="thr_old", updated_at=timezone.now() - OLD)
        make_thread(key="thr_new", updated_at=timezone.now())
        alice = make_user("alice")
        make_turn(age=OLD, thread_id="thr_gone", user=alice)
        ancient = make_turn(age=2 * OLD, thread_id="thr_gone", user=alice)
        young = make_turn(user=alice)
        tick()
        assert Thread.objects.get().key == "thr_new"
        assert set(Turn.objects.with_text()) == {young}
        assert not Turn.objects.filter(pk=ancient.pk).exists()
        assert Turn.objects.count() == 2
        assert set(Message.objects.values_list("turn", flat=True)) == {young.pk}
        run = RetentionRun.objects.get()
        assert run.finished_at is not None
        assert run.counts == {"threads": 1, "texts": 2, "traces": 1}

    def test_reports_of_browsers_and_settled_deliveries_go_by_their_own_age(self) -> None:
        now = timezone.now()
        turn = make_turn()
        make_client_event(turn, received_at=now - timedelta(days=91))
        make_client_event(turn, received_at=now - timedelta(days=89), session_id="s-2")
        make_delivery(turn, state=Delivery.State.DELIVERED, settled_at=now - timedelta(days=31))
        kept = make_delivery(state=Delivery.State.DEAD, settled_at=now - timedelta(days=29))
        waiting = make_delivery(created_at=now - timedelta(days=31))
        tick()
        assert ClientEvent.objects.get().session_id == "s-2"
        assert set(Delivery.objects.all()) == {kept, waiting}
        assert RetentionRun.objects.get().counts == {"client_events": 1, "deliveries": 1}

    def test_what_is_on_hold_and_what_is_running_stays(self, settings: Settings) -> None:
        settings.TRACE_RETENTION_DAYS = 30
        held = make_turn(age=OLD)
        make_client_event(held, received_at=timezone.now() - timedelta(days=91))
        place_on_turn(held, reason="An audit", by=None)
        running = make_turn(age=OLD, status=Turn.Status.RUNNING)
        make_turn(age=OLD)
        tick()
        assert set(Turn.objects.all()) == {held, running}
        assert ClientEvent.objects.exists()

    def test_turns_that_are_not_summed_up_yet_stay(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention_job, "hours_until", hours_until)
        settings.TRACE_RETENTION_DAYS = 1
        make_turn(age=timedelta(days=2))
        tick()
        assert Turn.objects.count() == 1

    def test_rollups_outlive_their_turns(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention_job, "hours_until", hours_until)
        settings.TRACE_RETENTION_DAYS = 1
        make_turn(age=timedelta(days=2))
        roll_up(timezone.now())
        before = list(Rollup.objects.of_all().values_list("period", "turns"))
        assert before
        tick()
        assert not Turn.objects.exists()
        roll_up(timezone.now())
        assert list(Rollup.objects.of_all().values_list("period", "turns")) == before


class TestWhen:
    def test_it_runs_once_a_day(self, steps: list[retention_job.Step]) -> None:
        ran: list[datetime] = []
        steps.append(lambda now, report: ran.append(now))
        tick()
        tick()
        assert len(ran) == 1
        RetentionRun.objects.update(started_at=timezone.now() - timedelta(hours=25))
        tick()
        assert len(ran) == 2

    def test_one_that_failed_is_told_by_its_type_and_tried_again_after_an_hour(
        self, steps: list[retention_job.Step]
    ) -> None:
        def fail(now: datetime, report: Report) -> None:
            report({"threads": 3})
            raise LookupError("canary-text")

        steps.append(fail)
        with pytest.raises(LookupError):
            tick()
        run = RetentionRun.objects.get()
        assert (run.error, run.counts, run.finished_at is None) == (
            "LookupError",
            {"threads": 3},
            False,
        )
        steps.clear()
        tick()
        assert RetentionRun.objects.count() == 1
        RetentionRun.objects.update(started_at=timezone.now() - timedelta(minutes=61))
        tick()
        assert RetentionRun.objects.count() == 2

    @pytest.mark.usefixtures("short_slices")
    def test_a_run_goes_on_in_slices_until_nothing_is_left(self, settings: Settings) -> None:
        settings.TRACE_RETENTION_DAYS = 30
        for _ in range(5):
            make_turn(age=OLD)
        assert ticks_until_done() == 6
        assert RetentionRun.objects.get().counts == {"traces": 5}

    def test_a_run_of_which_nothing_goes_any_more_is_ended(
        self, steps: list[retention_job.Step], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention_job, "SLICE_SECONDS", 0.0)
        steps.append(lambda now, report: report({"files": 0}))
        tick()
        run = RetentionRun.objects.get()
        assert run.finished_at is not None
        assert run.error == NO_PROGRESS


@pytest.mark.usefixtures("short_slices")
class TestSeveralProcesses:
    @pytest.fixture(autouse=True)
    def turns(self, settings: Settings) -> None:
        settings.TRACE_RETENTION_DAYS = 30
        for _ in range(3):
            make_turn(age=OLD)

    def test_one_at_a_time_is_at_it(self, another_process: Callable[[], None]) -> None:
        tick()
        another_process()
        tick()
        assert Turn.objects.count() == 2
        assert RetentionRun.objects.get().counts == {"traces": 1}

    def test_another_goes_on_with_the_run_of_one_that_died(
        self, another_process: Callable[[], None]
    ) -> None:
        tick()
        another_process()
        RetentionRun.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        ticks_until_done()
        assert not Turn.objects.exists()
        assert RetentionRun.objects.get().counts == {"traces": 3}

    def test_who_lost_the_run_writes_nothing_of_it(
        self, another_process: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lose(before: datetime, report: Report) -> None:
            another_process()
            RetentionRun.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
            run = retention_job._claim()
            assert run is not None
            report({"traces": 99})

        monkeypatch.setattr(retention_job, "delete_turns", lose)
        tick()
        run = RetentionRun.objects.get()
        assert (run.counts, run.finished_at) == ({}, None)

    def test_of_many_that_begin_at_once_one_does(self, steps: list[retention_job.Step]) -> None:
        begun: list[int] = []
        steps.append(lambda now, report: begun.append(1))
        barrier = threading.Barrier(6)

        def begin() -> None:
            try:
                barrier.wait()
                retention_job._claim()
            finally:
                connection.close()

        threads = [threading.Thread(target=begin) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert RetentionRun.objects.count() == 1


def test_operators_see_the_last_runs(client: Client, settings: Settings) -> None:
    settings.TRACE_RETENTION_DAYS = 30
    make_turn(age=OLD)
    tick()
    client.force_login(make_operator())
    page = client.get("/admin/observability/retentionrun/").content.decode()
    assert "turns: 1" in page


def test_the_names_of_what_goes_are_those_of_the_admin() -> None:
    from observability.admin.retention import _LABELS

    assert set(chat_retention.PurgeSummary().gone) <= set(_LABELS)

"""The worker in its process: forked, murdered, told to end, or not wanted at all."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from itertools import product
from typing import Any, NoReturn

import httpx
import psycopg
import pytest
from django.db import connection

from observability import outbox, worker
from observability.courier import Courier
from observability.models import Delivery, new_trace_id
from tests.faults.outbox_children import WAYS_TO_END
from tests.faults.outbox_processes import (
    Nursery,
    enqueue,
    enqueue_many,
    environment,
    wait_until_settled,
)
from tests.faults.outbox_receiver import Receiver, answer
from tests.faults.scale import IS_WHOLE, times
from tests.observability.helpers import PROJECT, database_url, eventually, run_python

State = Delivery.State

# -- forks -----------------------------------------------------------------------------------------


def test_each_child_of_a_preloaded_process_delivers(nursery: Nursery, receiver: Receiver) -> None:
    settings = {"ANOSYS_INGESTION_URL": receiver.url}
    trace_ids = [new_trace_id() for _ in range(times(50, 8))]
    for start in range(0, len(trace_ids), 8):
        some = trace_ids[start : start + 8]
        children = [nursery.fork("tell_one", each, settings=settings) for each in some]
        assert [child.wait(60) for child in children] == [0] * len(some), nursery.log
    assert set(receiver.stored) == set(trace_ids)
    assert receiver.duplicates == 0


@pytest.mark.skipif(
    connection.vendor != "postgresql",
    reason="Forked while a thread is inside SQLite, a child hangs there, whoever's thread it is.",
)
def test_each_child_that_is_forked_in_the_midst_of_work_delivers(
    nursery: Nursery, receiver: Receiver
) -> None:
    settings = {"ANOSYS_INGESTION_URL": receiver.url}
    trace_ids = [new_trace_id() for _ in range(times(50, 8))]
    parent = nursery.fork("fork_at_work", trace_ids, settings=settings)
    assert parent.wait(600) == 0, nursery.log
    assert set(trace_ids) <= set(receiver.stored)
    assert receiver.duplicates == 0, nursery.log


# -- murder ----------------------------------------------------------------------------------------


def exit_thread(*args: Any, **kwargs: Any) -> NoReturn:
    raise SystemExit


def run_out_of_memory(*args: Any, **kwargs: Any) -> NoReturn:
    raise MemoryError(bytearray(sys.maxsize))


def recurse(*args: Any, **kwargs: Any) -> Any:
    return recurse(*args, **kwargs)


@pytest.fixture
def thread(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The worker starts by itself, as it does outside a test run, and ends with the test."""
    monkeypatch.setattr(worker, "_process", worker._Process())
    monkeypatch.delattr("django.core.mail.outbox")
    yield
    worker.stop(5)


@pytest.mark.usefixtures("thread")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("murder", [exit_thread, run_out_of_memory, recurse])
@pytest.mark.parametrize("place", ["before the claim", "with a batch in hand", "while it settles"])
def test_a_worker_that_is_murdered_is_back_with_the_next_delivery(
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    murder: Callable[..., Any],
    place: str,
) -> None:
    victim, name = {
        "before the claim": (outbox, "has_due"),
        "with a batch in hand": (Courier, "_settle"),
        "while it settles": (outbox, "delivered"),
    }[place]
    with monkeypatch.context() as patch:
        patch.setattr(victim, name, murder)
        first = enqueue()
        if murder is exit_thread:
            eventually(lambda: not worker.is_alive())
        else:
            eventually(lambda: "The worker goes on after" in caplog.text)
    second = enqueue()
    # Not some time later: the commit has started it.
    assert worker.is_alive()
    wait_until_settled(10)
    assert set(receiver.stored) == {first, second}
    if murder is exit_thread:
        assert caplog.text.count("The worker's thread had died and is started again.") == 1


# -- the end ---------------------------------------------------------------------------------------

STATES = ("idle", "in a request that hangs", "in a long backoff", "with the database locked")
ENDS = [*product(STATES, WAYS_TO_END)] if IS_WHOLE else [*zip(STATES, WAYS_TO_END, strict=True)]
END_SECONDS = 2.5 + 2.0
"""What a process may take that the worker delays for two seconds; and what a busy machine may."""


@pytest.mark.parametrize(("state", "way"), ENDS)
def test_a_process_ends_in_time_whatever_its_worker_is_at(
    nursery: Nursery, receiver: Receiver, state: str, way: str
) -> None:
    hanging, refusing = answer(200, delay=60), answer(503, "Retry-After: 900")
    receiver.always(hanging if state == "in a request that hangs" else refusing)
    if state != "idle":
        enqueue_many(3)
    with locked() if state == "with the database locked" else nullcontext():
        child = nursery.fork("end", way, settings={"ANOSYS_INGESTION_URL": receiver.url})
        eventually(lambda: "ready" in nursery.log, 30)
        if state == "in a request that hangs":
            eventually(lambda: receiver.received, 30)
        elif state == "in a long backoff":
            eventually(lambda: Delivery.objects.filter(attempts=1).exists(), 30)
        started = time.monotonic()
        child.signal(WAYS_TO_END[way])
        code = child.wait(30)
        assert time.monotonic() - started < END_SECONDS
    assert code == (1 if way == "an exception" else 0), nursery.log
    assert list(Delivery.objects.values_list("state", flat=True)) == (
        [] if state == "idle" else [State.PENDING] * 3
    )


@contextmanager
def locked() -> Iterator[None]:
    """Nobody can claim anything."""
    if connection.vendor == "sqlite":
        name = connection.settings_dict["NAME"]
        with closing(sqlite3.connect(name, timeout=20, isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            yield
            holder.execute("ROLLBACK")
    else:
        with psycopg.connect(database_url()) as holder:
            holder.execute("LOCK TABLE observability_delivery")
            yield
            holder.rollback()


# -- where it is not wanted ------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_commands_send_nothing(receiver: Receiver) -> None:
    enqueue_many(3)
    run_python(
        """
import django, threading
django.setup()
from django.core.management import call_command
call_command("shell", "-c", "import chatsite.urls, observability.turns")
call_command("collectstatic", "--dry-run", "--noinput", "--verbosity=0")
call_command("check")
assert threading.active_count() == 1
""",
        **environment(database_url(), ANOSYS_INGESTION_URL=receiver.url),
    )
    assert receiver.received == []
    assert set(Delivery.objects.values_list("state", "attempts")) == {(State.PENDING, 0)}


@pytest.mark.skipif(not IS_WHOLE, reason="It takes two processes ten seconds.")
@pytest.mark.django_db(transaction=True)
def test_neither_process_of_the_development_server_sends_before_there_is_a_turn(
    receiver: Receiver,
) -> None:
    enqueue_many(3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with subprocess.Popen(
        [sys.executable, "manage.py", "runserver", address],
        cwd=PROJECT,
        env=environment(database_url(), ANOSYS_INGESTION_URL=receiver.url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as reloader:
        try:
            eventually(lambda: answers(f"http://{address}/healthz"), 60)
            time.sleep(worker.POLL_SECONDS)  # One that runs sends what is due when it starts.
        finally:
            os.killpg(reloader.pid, signal.SIGKILL)
    assert receiver.received == []
    assert set(Delivery.objects.values_list("state", "attempts")) == {(State.PENDING, 0)}


def answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url, timeout=10).status_code == 200
    return False

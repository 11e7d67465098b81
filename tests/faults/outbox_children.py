"""What the nursery's children do."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from django.utils import timezone

from observability import outbox, retention, worker
from observability.courier import Courier
from observability.models import Turn, new_trace_id

from .outbox_deaths import replace

HUNG_SECONDS = 30
"""After that a process shows where it hangs, and ends."""
WAYS_TO_END = {
    "SIGTERM": signal.SIGTERM,
    "SIGINT": signal.SIGINT,
    "sys.exit": signal.SIGUSR1,
    "an exception": signal.SIGUSR1,
}
"""How a process ends, and the signal that makes it do so."""

# -- what they do ----------------------------------------------------------------------------------


def work() -> None:
    """Run the worker until killed."""
    worker.start()
    _wait()


def work_with_patience(seconds: float) -> None:
    """The same, where SQLite waits no longer than this for its lock."""
    connections.settings["default"]["OPTIONS"]["timeout"] = seconds
    work()


def tell_one(trace_id: str) -> None:
    """A process that settles one turn, and ends."""
    faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True)
    _enqueue_turn(trace_id)
    assert worker.is_alive()
    worker.stop(10)


def fork_at_work(trace_ids: list[str]) -> None:
    """Fork a child to tell of each, while the worker and another thread are at work."""
    # A pool is of its process; what is tested is the worker.
    connections.settings["default"]["OPTIONS"].pop("pool", None)
    worker.start()
    is_over = threading.Event()

    def enqueue_on() -> None:
        while not is_over.is_set():
            _enqueue_turn(new_trace_id())
        connection.close()

    busy = threading.Thread(target=enqueue_on)
    busy.start()
    codes = []
    for trace_id in trace_ids:
        pid = os.fork()
        if not pid:
            tell_one(trace_id)
            os._exit(0)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    is_over.set()
    busy.join()
    assert worker.is_alive()
    worker.stop(30)
    assert codes == [0] * len(trace_ids), codes


def end(way: str) -> None:
    """Run the worker, with something to send, until told to end this way by its signal."""

    def leave(number: int, frame: FrameType | None) -> None:
        if way == "an exception":
            raise RuntimeError("the end")
        sys.exit(0)

    signal.signal(WAYS_TO_END[way], leave)
    worker.start()
    print("ready", flush=True)  # noqa: T201
    _wait()


def _enqueue_turn(trace_id: str) -> None:
    now = timezone.now()
    with transaction.atomic():
        turn = Turn.objects.create(
            trace_id=trace_id, status=Turn.Status.COMPLETED, prompt="Hi", started_at=now
        )
        outbox.enqueue_turn(turn)


def work_by_clock(path: str) -> None:
    """The same, where the host's clock, and with it SQLite's, is ahead by what the file says."""
    set_host_clock(Path(path))
    connection_created.connect(
        lambda connection, **kwargs: set_database_clock(connection, Path(path)), weak=False
    )
    work()


def set_host_clock(ahead: Path) -> None:
    """Have Python's wall clock run ahead by the seconds in the file."""
    real_time, real_now = time.time, timezone.now
    replace(time, "time", lambda: real_time() + _seconds(ahead))
    replace(timezone, "now", lambda: real_now() + timedelta(seconds=_seconds(ahead)))


def set_database_clock(connection: Any, ahead: Path) -> None:
    """The same of the clock that SQLite takes from its host; PostgreSQL's is its server's."""
    if connection.vendor != "sqlite":
        return

    def strftime(form: str, moment: str) -> str:
        now = datetime.now(UTC) + timedelta(seconds=_seconds(ahead))
        # As SQLite does, to the millisecond.
        return now.strftime(form.replace("%f", f"{now.second:02}.{now.microsecond // 1000:03}"))

    connection.connection.create_function("strftime", 2, strftime)


def _seconds(path: Path) -> float:
    return float(path.read_text(encoding="ascii"))


def restart_often(restarts: int, cycles: int) -> None:
    """Say what is open after the first life of the worker and after the last, and wait."""
    done = 0
    run_once = worker.Worker.run_once

    def count_and_run(loop: worker.Worker) -> bool:
        nonlocal done
        done += 1
        return run_once(loop)

    replace(worker.Worker, "run_once", count_and_run)
    for number in range(1, restarts + 1):
        worker.start()
        while done < number * cycles // restarts:
            worker.wake()
            time.sleep(0.001)
        worker.stop(5)
        if number in (1, restarts):
            files = len(list(Path("/proc/self/fd").iterdir()))
            found = {"files": files, "threads": threading.active_count()}
            print(json.dumps(found), flush=True)  # noqa: T201
    print("after the last", flush=True)  # noqa: T201
    _wait()


def enqueue(count: int) -> None:
    """So many turns with their deliveries."""
    from .outbox_processes import enqueue_many

    enqueue_many(count)
    os._exit(0)


def claim_and_send() -> None:
    """Drain the outbox without the worker's thread: what fails here is the process' failure."""
    courier = Courier()
    while outbox.has_due(outbox.ANOSYS):
        courier.deliver()
    courier.close()
    os._exit(0)  # To take a process down in good order takes longer than what it has done.


def prune() -> None:
    """Delete all deliveries that are settled."""
    retention.delete_deliveries(timezone.now() + timedelta(days=1), lambda counts: None)
    os._exit(0)


def _wait() -> None:
    """Until a signal; or for good, where there is nobody left to send one."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.1)

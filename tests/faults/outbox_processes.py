"""A test's hold on the nursery and its children, and the rows that they work on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from observability import outbox
from observability.models import Delivery, Turn, new_trace_id
from tests.observability.helpers import PROJECT, STARTED, eventually, make_turn


@dataclass(frozen=True)
class Child:
    """A process that the nursery has forked."""

    pid: int
    nursery: Nursery

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it runs."""
        return self.nursery.exit_code(self.pid)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.signal(signal.SIGKILL)
        self.wait()

    def signal(self, number: int) -> None:
        if self.exit_code is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float = 30.0) -> int:
        """The exit code, once it has ended. Fails the test after ``timeout`` seconds."""
        eventually(lambda: self.exit_code is not None, timeout)
        assert self.exit_code is not None
        return self.exit_code


class Nursery:
    """Forks children, each to do a function of :mod:`.outbox_children`. For any thread."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log
        self._begin = 0
        self._lock = threading.Lock()
        self._exit_codes: dict[int, int] = {}
        self._children: list[Child] = []

    @property
    def log(self) -> str:
        """What the children of this test have written."""
        return self._log.read_text(encoding="utf-8", errors="replace")[self._begin :]

    def fork(
        self,
        does: str,
        *args: Any,
        settings: dict[str, Any],
        values: dict[str, Any] | None = None,
        dies: tuple[str, int] | None = None,
    ) -> Child:
        """A child with these settings, and these values in place of the modules' own.

        ``dies`` names the point at which it kills itself, and at which pass.
        """
        order: dict[str, Any] = {
            "does": does,
            "with": args,
            "settings": settings,
            "values": values or {},
            "log": str(self._log),
        }
        if dies:
            order["dies"], order["passes"] = dies
        with self._lock:
            child = Child(self._ask(order), self)
            self._exit_codes.pop(child.pid, None)  # Of one that had this number before.
            self._children.append(child)
        return child

    def exit_code(self, pid: int) -> int | None:
        """Negative for a signal; None while the child of this number runs."""
        with self._lock:
            if pid not in self._exit_codes:
                code: int | None = self._ask({"poll": pid})
                if code is None:
                    return None
                self._exit_codes[pid] = code
            return self._exit_codes[pid]

    def clear(self) -> None:
        """Kill who is left, and forget what they wrote."""
        for child in self._children:
            child.kill()
        self._children.clear()
        self._exit_codes.clear()
        self._begin += len(self.log)

    def _ask(self, order: dict[str, Any]) -> Any:
        """Under the lock."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def environment(database_url: str, **more: str) -> dict[str, str]:
    """Of a process on this database that looks for collectors on loopback."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "chatsite.settings",
        "DATABASE_URL": database_url,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        **more,
    }


@contextmanager
def running_nursery(database_url: str, folder: Path) -> Iterator[Nursery]:
    """A nursery on this database for as long as the block runs."""
    log = folder / "children.log"
    log.touch()
    with (
        log.open("a", encoding="utf-8") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.outbox_nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=PROJECT,
            env=environment(database_url, PGAPPNAME="nursery"),
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline(), log.read_text(encoding="utf-8")
        nursery = Nursery(process, log)
        try:
            yield nursery
        finally:
            nursery.clear()
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()


# -- rows ------------------------------------------------------------------------------------------


class _RolledBack(Exception):
    pass


def enqueue(*, rolled_back: bool = False) -> str:
    """A turn and its delivery, in one transaction. Returns the event's id."""
    trace_id = new_trace_id()
    with suppress(_RolledBack), transaction.atomic():
        outbox.enqueue_turn(make_turn(trace_id=trace_id))
        if rolled_back:
            raise _RolledBack
    return trace_id


def enqueue_many(count: int, **fields: Any) -> list[str]:
    """So many at once, with these fields of a delivery. Returns the events' ids."""
    turns = Turn.objects.bulk_create(
        [
            Turn(
                owner_key="user:7",
                status=Turn.Status.COMPLETED,
                prompt="What is the time?",
                response="Noon.",
                started_at=STARTED,
                ended_at=STARTED,
            )
            for _ in range(count)
        ],
        batch_size=500,
    )
    Delivery.objects.bulk_create(
        [
            Delivery(
                destination=outbox.ANOSYS,
                kind=Delivery.Kind.TURN,
                event_id=turn.trace_id,
                turn=turn,
                **fields,
            )
            for turn in turns
        ],
        batch_size=500,
    )
    return [turn.trace_id for turn in turns]


def expire_leases() -> None:
    """As if the time that dead workers have claimed were over."""
    Delivery.objects.filter(state=Delivery.State.LEASED).update(lease_expires_at=Now())


def wait_until_settled(timeout: float) -> None:
    """Wait until no delivery is outstanding. Fails the test after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while Delivery.objects.outstanding().exists():
        assert time.monotonic() < deadline, list(
            Delivery.objects.outstanding().values_list("state", "attempts", "last_error")[:20]
        )
        time.sleep(0.05)

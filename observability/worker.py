"""The background thread: sends what is due, keeps this process's turns alive, sweeps dead ones.

One daemon thread per process. It starts with the ASGI lifespan (:func:`start`) or, where a server
has none, with the first turn or delivery (:func:`ensure_running`, :func:`wake`); never by an
import, ``AppConfig.ready`` or a command that makes no turns. Only a test run is left alone: there
nothing but :func:`start` starts it, for a thread beside the tests would send what they write.

After a fork the child has no thread, and starts its own when it has work. A daemon thread may be
cut down at any moment, so it owes nothing: the table holds what is due, and leases run out.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from django.core import mail
from django.db import InterfaceError, OperationalError, connections

from . import outbox
from .conf import conf
from .courier import BATCH, Courier
from .database import tidy_connections

logger = logging.getLogger(__name__)

THREAD_NAME = "observability-worker"
POLL_SECONDS = 1.0
IDLE_POLL_SECONDS = 5.0
GATHER_SECONDS = 0.25
"""How long a worker that was woken waits for more: what is sent together costs half as much."""
PACE_SECONDS = 1.0
"""From one such batch to the next, as long as none is full."""
SAID_SECONDS = 60.0
KINDS_OF_FAILURE = 100
SETTLE_SECONDS = 0.4
"""What is kept of the time to stop for writing down how the last request went."""
FIRST_CHORE_SECONDS = 60.0
"""How soon a process does what is to be done less often: it may not live so long."""


class Chore(NamedTuple):
    """Something to do now and then."""

    seconds: float
    work: Callable[[], Any]
    at_stop: bool = False


_chores: list[Chore] = []


def every(seconds: float, work: Callable[[], Any], *, at_stop: bool = False) -> None:
    """Have the workers of all processes do this about every so many seconds.

    For an app's ``ready``. The work runs in the worker's thread, between deliveries: it has to be
    short, and right whoever else does the same. What it raises is logged by its type. With
    ``at_stop`` it is done once more when the worker is told to end.
    """
    _chores.append(Chore(seconds, work, at_stop))


class Worker:
    """The loop, without its thread: tests drive it with ``run_once``."""

    def __init__(self) -> None:
        # Late, since it brings the ChatKit SDK, which takes a second. And here rather than in the
        # thread: a process that forks while a thread imports has children that can't import.
        from . import turns

        self._turns = turns
        self.courier = Courier(between=self._renew_leases_if_due)
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._stop_tick: float | None = None
        self._said: dict[tuple[str, str], float] = {}
        self._poll_seconds = POLL_SECONDS
        self._send_tick = 0.0
        self._renew_tick = self._sweep_tick = time.monotonic()
        self._chore_ticks = [
            self._sweep_tick + _jittered(min(chore.seconds, FIRST_CHORE_SECONDS))
            for chore in _chores
        ]

    def wake(self) -> None:
        """There is something to do. From any thread."""
        self._wake.set()

    def stop(self, timeout: float = 0.0) -> None:
        """Send what ``timeout`` seconds allow, give the rest back, end. From any thread."""
        self._stop_tick = time.monotonic() + max(0.0, timeout - SETTLE_SECONDS)
        self.courier.stop_at(self._stop_tick)
        self._ending.set()
        self._wake.set()

    def run_forever(self) -> None:
        """Work until stopped. No failure of a cycle ends it."""
        was_woken = False
        try:
            while self._stop_tick is None:
                if self._survive(self.run_once):
                    continue
                if not was_woken:
                    # Only one that is idle: to open the next has its price.
                    connections.close_all()
                was_woken = self._sleep()
            for chore in _chores:
                if chore.at_stop:
                    self._survive(chore.work)
            while self._survive(self._deliver):
                pass
        finally:
            self._survive(self.courier.close)
            connections.close_all()

    def run_once(self) -> bool:
        """One cycle. Returns whether to go on at once, since a batch was full."""
        self._renew_leases_if_due()
        self._sweep_if_due()
        self._do_chores_that_are_due()
        return self._deliver()

    def _deliver(self) -> bool:
        """Returns whether a batch was full. If not, nothing was left: what comes meanwhile, from
        other processes too, can wait, and must not keep one that is to end.
        """
        tried = self.courier.deliver()
        if tried:
            self._poll_seconds = POLL_SECONDS
        return tried >= BATCH

    def _renew_leases_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._renew_tick:
            # First as if it failed: then soon again, but not at every turn of the loop.
            self._renew_tick = now + POLL_SECONDS
            self._turns.renew_live_leases()
            self._renew_tick = now + conf().observability_lease_seconds / 3

    def _sweep_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._sweep_tick:
            self._sweep_tick = now + conf().observability_lease_seconds
            self._turns.sweep()
            outbox.heed_clock()

    def _do_chores_that_are_due(self) -> None:
        now = time.monotonic()
        for number, (chore, tick) in enumerate(zip(_chores, self._chore_ticks, strict=False)):
            if now >= tick:
                self._chore_ticks[number] = now + _jittered(chore.seconds)
                # By itself: one that always fails must not cost the others, or the deliveries.
                self._try(chore.work)

    def _sleep(self) -> bool:
        """Wait to be woken, at most a poll; polls grow rare while there is nothing to do. Returns
        whether it was woken.
        """
        until_renewal = self._renew_tick - time.monotonic()
        seconds = min(_jittered(self._poll_seconds), IDLE_POLL_SECONDS, until_renewal)
        was_woken = self._wake.wait(max(0.05, seconds))
        if was_woken:
            now = time.monotonic()
            self._send_tick = max(now + GATHER_SECONDS, self._send_tick + PACE_SECONDS)
            self._ending.wait(max(0.0, min(self._send_tick, self._renew_tick) - now))
        # Cleared before the work: what comes meanwhile wakes again.
        self._wake.clear()
        grown = min(self._poll_seconds * 1.5, IDLE_POLL_SECONDS)
        self._poll_seconds = POLL_SECONDS if was_woken else grown
        return was_woken

    def _survive(self, step: Callable[[], Any]) -> bool:
        """Run a step between two looks at the connection."""
        tidy_connections()
        try:
            return self._try(step)
        finally:
            tidy_connections()

    def _try(self, step: Callable[[], Any]) -> bool:
        """Run a step; say what fails, and go on."""
        try:
            return bool(step())
        except Exception as error:
            self._say(error)
            if isinstance(error, OperationalError | InterfaceError):
                connections.close_all()
            return False

    def _say(self, error: Exception) -> None:
        """Once a minute of each kind and place: a database that is down for an hour is told of, and
        does not fill the log.
        """
        # Where and what kind of failure: the text of an exception may quote anything.
        where = "".join(traceback.format_tb(error.__traceback__))
        now, what = time.monotonic(), (type(error).__name__, where)
        if now >= self._said.get(what, now):
            self._said[what] = now + SAID_SECONDS
            logger.error("The worker goes on after %s:\n%s", *what)
        if len(self._said) > KINDS_OF_FAILURE:
            self._said.clear()


def _jittered(seconds: float) -> float:
    """More or less this long: so that processes which start together don't act together."""
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311


# -- the thread of this process --------------------------------------------------------------------


class _Process:
    """The worker and the thread of one process; a forked child gets a new one."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.worker: Worker | None = None
        self.thread: threading.Thread | None = None
        self.is_stopped = False

    @property
    def is_alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


_process = _Process()


def start() -> None:
    """Run the worker in this process, if it does not run already."""
    process = _this_process()
    with process.lock:
        process.is_stopped = False
        _start_thread(process)


def ensure_running() -> None:
    """Start the worker where it may start by itself: not in a test run, and not after a stop."""
    process = _this_process()
    # Mail has an outbox while, and only while, Django's test environment is set up.
    if process.is_alive or process.is_stopped or hasattr(mail, "outbox"):
        return
    with process.lock:
        _start_thread(process)


def wake() -> None:
    """Something was enqueued: send it now, not with the next poll. Never waits, never fails."""
    ensure_running()
    worker = _this_process().worker
    if worker is not None:
        worker.wake()


def is_alive() -> bool:
    """Whether this process has a worker at work."""
    return _this_process().is_alive


def stop(timeout: float) -> None:
    """Let the worker send what ``timeout`` seconds allow, then end it. Blocks no longer.

    What is left stays in the table. The worker starts again only by :func:`start`.
    """
    process = _this_process()
    with process.lock:
        process.is_stopped = True
        worker, thread = process.worker, process.thread
        process.worker = process.thread = None
    if worker is None or thread is None:
        return
    worker.stop(timeout)
    thread.join(timeout)
    if thread.is_alive():
        logger.warning("The worker is still busy at shutdown; what it leases will be sent later.")


def _start_thread(process: _Process) -> None:
    """Under the lock. Where no thread can be had, the table keeps what is due."""
    if process.is_alive:
        return
    if process.thread is not None:
        logger.error("The worker's thread had died and is started again.")
    worker = Worker()
    thread = threading.Thread(target=worker.run_forever, name=THREAD_NAME, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        logger.warning("The worker could not start; deliveries stay in the table.")
        return
    process.worker, process.thread = worker, thread


def _this_process() -> _Process:
    """The state of this process. The pid is looked at since uWSGI forks without Python's hooks."""
    if _process.pid != os.getpid():
        _forget()
    return _process


def _forget() -> None:
    """In a forked child: the parent's thread is not here, and its lock may be held for ever."""
    global _process
    _process = _Process()


def _stop_at_exit() -> None:
    if is_alive():
        stop(conf().observability_shutdown_seconds)


os.register_at_fork(after_in_child=_forget)
atexit.register(_stop_at_exit)

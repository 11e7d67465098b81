"""A part of ``benchmarks.recorder``: what recording costs for each event, and for each turn.

``python -m benchmarks.recorder_costs events DATABASE_URL RUNS REPEATS`` or ``... turns
DATABASE_URL RUNS TURNS``, since one Django knows one database. Prints the figures of each run as
JSON. All of them are processor time, which is much the same on a busy machine.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import uvloop
from chatkit.server import ChatKitServer, StreamingResult
from chatkit.types import ThreadMetadata, ThreadStreamEvent, UserMessageItem

from observability import instrument

from .answers import Deltas, Scripted
from .bare import MemoryStore
from .site import set_up
from .words import prompt

ANSWERS = {"deltas": Deltas, "agent": Scripted}
FEW, MANY = 200, 2000
"""Deltas of two answers. What a turn costs is the same in both, so it is not in the difference."""
_TICKS_PER_MS = 0.1


def question(words: int) -> bytes:
    """The body of a request for a new thread, to be answered in so many words."""
    message = {
        "content": [{"type": "input_text", "text": prompt(words)}],
        "attachments": [],
        "inference_options": {},
    }
    return json.dumps({"type": "threads.create", "params": {"input": message}}).encode()


class Replayed(ChatKitServer[Any]):
    """Responds with events that are there already, so that nothing but their way is measured."""

    def __init__(self, events: list[ThreadStreamEvent]) -> None:
        super().__init__(MemoryStore())
        self.events = events

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        for event in self.events:
            yield event


async def per_event(runs: int, repeats: int) -> list[dict[str, dict[str, float]]]:
    """Microseconds for each event, by answer, of each run.

    ``sdk``: ``process`` over a store in memory. ``observe``: the recorder alone. ``wrapped``: what
    an instrumented server adds to the thread that streams. ``whole``: what it adds to the process,
    to the end of the turn in the database.
    """
    # The first run does not count.
    found = [{each: await _event_costs(each, repeats) for each in ANSWERS} for _ in range(runs + 1)]
    return found[1:]


async def _event_costs(answer: str, repeats: int) -> dict[str, float]:
    bare = ANSWERS[answer](MemoryStore())
    ready = {words: await _events_of(answer, words) for words in (FEW, MANY)}
    plain = {words: Replayed(events) for words, events in ready.items()}
    recorded = {words: instrument(Replayed(events)) for words, events in ready.items()}
    spent: defaultdict[tuple[str, int], float] = defaultdict(float)
    gc.collect()
    for _ in range(repeats):
        for words, events in ready.items():
            spent["sdk", words] += await _answer(bare, words)
            spent["observe", words] += _observe(events)
            without, of_process_without = await _respond(plain[words])
            streaming, of_process = await _respond(recorded[words])
            spent["wrapped", words] += streaming - without
            spent["whole", words] += of_process - of_process_without
    more = (len(ready[MANY]) - len(ready[FEW])) * repeats
    return {
        what: (spent[what, MANY] - spent[what, FEW]) / more * 1e6
        for what in ("sdk", "observe", "wrapped", "whole")
    }


async def _events_of(answer: str, words: int) -> list[ThreadStreamEvent]:
    """What such a server's ``respond`` yields, each as it is at that moment."""
    server, events = ANSWERS[answer](MemoryStore()), []
    respond = server.respond

    async def kept(*args: Any) -> AsyncIterator[ThreadStreamEvent]:
        async for event in respond(*args):
            events.append(event.model_copy(deep=True))
            yield event

    server.respond = kept  # type: ignore[method-assign, assignment]
    await _answer(server, words)
    return events


async def _answer(server: ChatKitServer[Any], words: int) -> float:
    begun = time.thread_time()
    result = await server.process(question(words), {})
    assert isinstance(result, StreamingResult)  # noqa: S101 (It was asked for.)
    async for _ in result:
        pass
    return time.thread_time() - begun


async def _respond(server: Replayed) -> tuple[float, float]:
    """Seconds of this thread, and of the process."""
    thread = ThreadMetadata(id="thr_1", created_at=datetime.now())  # noqa: DTZ005 (As the SDK's.)
    of_process, of_thread = time.process_time(), time.thread_time()
    async for _ in server.respond(thread, None, {}):
        pass
    return time.thread_time() - of_thread, time.process_time() - of_process


def _observe(events: list[ThreadStreamEvent]) -> float:
    from observability.recorder import Identity, TurnRecorder

    recorder = TurnRecorder(thread_id="thr_1", identity=Identity())
    begun = time.thread_time()
    for event in events:
        recorder.observe(event)
    return time.thread_time() - begun


def per_turn(runs: int, turns: int) -> list[dict[str, float]]:
    """Milliseconds of one core for a turn of six spans and three messages, of each run.

    ``ours`` and ``database``: our process, and PostgreSQL's processes. ``plain`` and
    ``plain_database``: the same for the same rows through the ORM.
    """
    from . import recording

    found = []
    for _ in range(runs + 1):
        figures = {}
        for name, work in (("ours", recording.record), ("plain", recording.write_plainly)):
            gc.collect()
            process, database = time.process_time(), _database_ms()
            work(turns)
            figures[name] = (time.process_time() - process) * 1000 / turns
            key = "database" if name == "ours" else "plain_database"
            figures[key] = (_database_ms() - database) / turns
        found.append(figures)
    # The first run does not count.
    return found[1:]


def _database_ms() -> float:
    """What PostgreSQL's processes have spent so far. SQLite has none: it works in ours."""
    from django.db import connection

    if connection.vendor == "sqlite":
        return 0.0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    postmaster = _stat(backend)[1]
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    ticks = sum(sum(_stat(pid)[11:13]) for pid in map(int, children))
    # With those of its children that have ended.
    return (ticks + sum(_stat(postmaster)[11:15])) / _TICKS_PER_MS


def _stat(pid: int) -> list[int]:
    """Linux's figures of a process, from its state on, which is told as 0."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [0, *map(int, fields[1:])]


def main(what: str, database: str, runs: int, count: int) -> None:
    set_up(database)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    found: Any
    if what == "events":
        found = uvloop.run(per_event(runs, count))
    else:
        found = per_turn(runs, count)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

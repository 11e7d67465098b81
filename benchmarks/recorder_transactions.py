"""A part of ``benchmarks.recorder``: the transactions of a turn over the real endpoint.

``python -m benchmarks.recorder_transactions DATABASE_URL TURNS``, since one Django knows one
database; where to forward to stands in the environment. A turn is one of ``benchmarks.answers.
Short``, with all of the site around it. Prints the counts as JSON.

What counts is each BEGIN with its end, and each message that writes without one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.store import Store

from .answers import Short
from .recorder_costs import question
from .site import set_up

WORDS = 8
WARM_UP_TURNS = 3
FORWARD_SECONDS = 60.0
_WRITES = re.compile(r'(INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM) "(\w+)"')

_is_stores: ContextVar[bool] = ContextVar("is_stores", default=False)
"""Whether a call of the SDK's to its store is being answered."""


@dataclass(kw_only=True)
class Transaction:
    """What one wrote, and for whom."""

    owner: str
    """``store``: a call of the SDK's. ``beyond``: the rest of the turn. ``worker``: no turn's."""
    writes: list[str] = field(default_factory=list)


class Counting(logging.Handler):
    """Django's log of statements as transactions, those of each thread by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[Transaction] = []
        self._open: dict[int | None, Transaction] = {}

    def emit(self, record: logging.LogRecord) -> None:
        sql, thread = str(record.__dict__["sql"]), record.thread
        written = [" ".join(found.groups()) for found in _WRITES.finditer(sql)]
        if sql.startswith("BEGIN"):
            self._open[thread] = Transaction(owner=_owner())
        elif sql in {"COMMIT", "ROLLBACK"}:
            if found := self._open.pop(thread, None):
                self._done.append(found)
        elif thread in self._open:
            self._open[thread].writes += written
        elif written:
            self._done.append(Transaction(owner=_owner(), writes=written))

    def take(self) -> list[Transaction]:
        """Those that have ended since the last call."""
        self.acquire()
        try:
            done, self._done = self._done, []
        finally:
            self.release()
        return done


def _owner() -> str:
    from observability.worker import THREAD_NAME

    if threading.current_thread().name == THREAD_NAME:
        return "worker"
    return "store" if _is_stores.get() else "beyond"


def server(store: Store[Any], attachment_store: Any) -> ChatKitServer[Any]:
    """For CHATKIT_SERVER: says of each of the SDK's calls to the store that it is one."""
    for name in Store.__abstractmethods__:
        setattr(store, name, _told(getattr(store, name)))
    return Short(store, attachment_store)


def _told(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def told(*args: Any, **kwargs: Any) -> Any:
        token = _is_stores.set(True)
        try:
            return await call(*args, **kwargs)
        finally:
            _is_stores.reset(token)

    return told


def listen() -> Counting:
    """From now on, to all connections of this process."""
    from django.db import connections
    from django.db.backends.signals import connection_created

    def log(connection: Any, **_: Any) -> None:
        connection.force_debug_cursor = True

    connection_created.connect(log, weak=False)
    for connection in connections.all():
        log(connection)
    counting, logger = Counting(), logging.getLogger("django.db.backends")
    logger.addHandler(counting)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logging.getLogger("chatkit_endpoint.access_log").setLevel(logging.WARNING)
    return counting


async def count(turns: int) -> dict[str, Any]:
    """Transactions for each turn, by whose they are, and what they write.

    ``store``: of the SDK's calls. ``beyond``: all others until the answer has ended, ``recorder``
    among them. ``worker``: of forwarding, which gathers turns.
    """
    from django.contrib.auth.models import User
    from django.test import AsyncClient

    client = AsyncClient()
    await client.aforce_login(await User.objects.acreate(username="person"))
    counting = listen()
    await _ask(client, WARM_UP_TURNS)
    await asyncio.to_thread(wait_until_forwarded, WARM_UP_TURNS)
    counting.take()
    by_turn: list[Counter[str]] = []
    writes: Counter[str] = Counter()
    for _ in range(turns):
        await _ask(client, 1)
        taken = counting.take()
        counted = Counter(each.owner for each in taken)
        counted["recorder"] = sum(map(_is_recorders, taken))
        by_turn.append(counted)
        writes.update(_described(each) for each in taken)
    await asyncio.to_thread(wait_until_forwarded, WARM_UP_TURNS + turns)
    rest = counting.take()
    writes.update(map(_described, rest))
    workers = sum(each["worker"] for each in by_turn) + len(rest)
    return {
        "store": median(each["store"] for each in by_turn),
        "beyond": median(each["beyond"] for each in by_turn),
        "recorder": median(each["recorder"] for each in by_turn),
        "worker": workers / turns,
        "writes": {what: number / turns for what, number in writes.most_common()},
    }


async def _ask(client: Any, times: int) -> None:
    for _ in range(times):
        response = await client.post(
            "/chatkit", data=question(WORDS), content_type="application/json"
        )
        assert response.status_code == 200, response.content  # noqa: S101 (It counts.)
        async for _ in response:
            pass


def wait_until_forwarded(turns: int) -> None:
    """Raises TimeoutError where so many deliveries were not made in FORWARD_SECONDS."""
    from observability.models import Delivery

    deadline = time.monotonic() + FORWARD_SECONDS
    while Delivery.objects.filter(settled_at__isnull=False).count() < turns:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{turns} turns were not forwarded.")
        time.sleep(0.1)


def _is_recorders(transaction: Transaction) -> bool:
    return transaction.owner == "beyond" and any(
        " observability_" in written for written in transaction.writes
    )


def _described(transaction: Transaction) -> str:
    writes = ", ".join(dict.fromkeys(transaction.writes))
    return f"{transaction.owner}: {writes or 'nothing'}"


def main(database: str, turns: int) -> None:
    set_up(database)
    from django.core.management import call_command
    from django.test import override_settings

    call_command("migrate", verbosity=0)
    limits = dict.fromkeys(("CHATKIT_RATE_LIMIT", "CHATKIT_ADDRESS_RATE_LIMIT"), "999999/d")
    with override_settings(
        ALLOWED_HOSTS=["testserver"], CHATKIT_SERVER=f"{__name__}.server", **limits
    ):
        sys.stdout.write(json.dumps(asyncio.run(count(turns))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

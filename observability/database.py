"""One way from async code to the ORM.

Every unit of work is one function that runs on one of a few threads of our own. So no stream holds
a connection between its writes, and a pool of a few connections serves any number of streams.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

P = ParamSpec("P")
T = TypeVar("T")

FORGETTABLE = "SET LOCAL synchronous_commit TO off"
"""What PostgreSQL is told of a transaction whose commit need not wait for the disk."""
THREADS = 4
"""Where the database is a server, which they wait for."""
SQLITE_THREADS = 2
"""SQLite works in our process, for some 20 µs at a time, and more threads only fight over Python's
lock. Not one: while that waited for another process to end its writing, nobody could read."""


@cache
def _executor() -> ThreadPoolExecutor:
    threads = SQLITE_THREADS if connection.vendor == "sqlite" else THREADS
    return ThreadPoolExecutor(threads, thread_name_prefix="chatkit-db")


async def run_in_database(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``work`` on a database thread and wait for its result.

    Work that was handed over runs to its end, also when the caller is cancelled while waiting.
    Raises what ``work`` raises.
    """
    context = contextvars.copy_context()

    def unit() -> T:
        tidy_connections()
        try:
            return context.run(work, *args, **kwargs)
        finally:
            tidy_connections()

    return await asyncio.shield(asyncio.get_running_loop().run_in_executor(_executor(), unit))


def tidy_connections() -> None:
    """``close_old_connections`` for threads that live as long as their process: one to an SQLite
    file is kept unless it is broken, since to open it takes longer than a unit of work.
    """
    for each in connections.all(initialized_only=True):
        if each.vendor == "sqlite":
            each.close_at = None
        each.close_if_unusable_or_obsolete()


@contextmanager
def forgettable_transaction(using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """A transaction that PostgreSQL need not have on its disk when it is committed: for what may
    be forgotten where its server, not ours, dies within a second.
    """
    connection = connections[using]
    is_whole = not connection.in_atomic_block  # Else it would be the caller's commit, too.
    with transaction.atomic(using):
        if is_whole and connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(FORGETTABLE)
        yield


def storable(text: str) -> str:
    """The text as every database takes it: PostgreSQL refuses NUL and halves of surrogate pairs."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()

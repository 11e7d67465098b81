"""A part of ``benchmarks.store``: what calls run, noted and run again through the bare driver."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import psycopg

Operation = Callable[[], Awaitable[Any]]
BEGIN = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN"}


class Statement(NamedTuple):
    sql: str
    parameters: Any = None


def recorded(operations: Iterable[Operation]) -> list[list[Statement]]:
    """What each of them has the database do, transactions included."""
    from django.db import connection

    from observability.database import run_in_database

    found: list[list[tuple[bool, Statement]]] = []

    def note(execute: Callable[..., Any], sql: str, parameters: Any, *others: Any) -> Any:
        # How a transaction is begun and ended passes here with some drivers only.
        if not sql.startswith("BEGIN"):
            found[-1].append((connection.in_atomic_block, Statement(sql, parameters)))
        return execute(sql, parameters, *others)

    async def noted(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def unit() -> Any:
            with connection.execute_wrapper(note):
                return work(*args, **kwargs)

        return await run_in_database(unit)

    async def run() -> None:
        for operation in operations:
            found.append([])
            await operation()

    with patch("chatkit_endpoint.store.run_in_database", noted):
        asyncio.run(run())
    return [_with_transactions(each, connection.vendor) for each in found]


def _with_transactions(noted: list[tuple[bool, Statement]], vendor: str) -> list[Statement]:
    found: list[Statement] = []
    within = False
    for in_transaction, (sql, parameters) in noted:
        if in_transaction != within:
            found.append(Statement(BEGIN[vendor] if in_transaction else "COMMIT"))
            within = in_transaction
        found.append(Statement(_in_words_of(vendor, sql), parameters))
    return [*found, Statement("COMMIT")] if within else found


def _in_words_of(vendor: str, sql: str) -> str:
    """As Django's own cursor for SQLite words it for the driver."""
    return sql.replace("%s", "?").replace("%%", "%") if vendor == "sqlite" else sql


def awaited(operations: Sequence[Operation]) -> float:
    """Await one after the other. Returns the seconds that it took."""

    async def run() -> float:
        started = time.perf_counter()
        for operation in operations:
            await operation()
        return time.perf_counter() - started

    return asyncio.run(run())


def replayed(bare: Any, calls: Sequence[Sequence[Statement]]) -> float:
    """Run the statements of all calls. Returns the seconds that it took."""
    started = time.perf_counter()
    for statements in calls:
        for sql, parameters in statements:
            cursor = bare.execute(sql) if parameters is None else bare.execute(sql, parameters)
            if cursor.description:
                cursor.fetchall()
    return time.perf_counter() - started


def bare_connection(database: str) -> Any:
    """Through the driver by itself."""
    if database.startswith("sqlite"):
        path = database.removeprefix("sqlite:///")
        lite = sqlite3.connect(path, isolation_level=None, timeout=20)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            lite.execute(f"PRAGMA {pragma}")
        return lite
    return psycopg.connect(
        database, autocommit=True, cursor_factory=psycopg.ClientCursor, prepare_threshold=None
    )

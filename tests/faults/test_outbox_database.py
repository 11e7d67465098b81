"""A database that is locked, gone, restarted or half there: the worker lives, and goes on."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from django.db import OperationalError, connection

from observability import worker
from observability.models import Delivery
from tests import postgres
from tests.faults.outbox_processes import (
    Nursery,
    enqueue,
    enqueue_many,
    running_nursery,
    wait_until_settled,
)
from tests.faults.outbox_receiver import Receiver, answer
from tests.faults.scale import times
from tests.observability.helpers import PROJECT, eventually

RECOVERY_SECONDS = worker.IDLE_POLL_SECONDS + 5
SECONDS_EACH = 0.02

on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="It is SQLite's lock.")
on_postgres = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server.")


@on_sqlite
def test_a_locked_database_is_waited_for(nursery: Nursery, receiver: Receiver) -> None:
    patience, locked_seconds = times(20, 1), times(30, 3)
    settings = {"ANOSYS_INGESTION_URL": receiver.url}
    child = nursery.fork("work_with_patience", patience, settings=settings)
    enqueue()
    wait_until_settled(30)
    enqueue_many(10)
    with locked():
        started = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {patience * 1000}")
        with pytest.raises(OperationalError):
            enqueue()
        assert time.monotonic() - started < patience + 5
        time.sleep(max(0, started + locked_seconds - time.monotonic()))
    connection.close()
    enqueue_many(10)
    wait_until_settled(RECOVERY_SECONDS)
    assert child.exit_code is None
    assert len(receiver.stored) == 21
    assert "The worker goes on after OperationalError" in nursery.log


@contextmanager
def locked() -> Iterator[None]:
    """Nobody else can write meanwhile."""
    name = connection.settings_dict["NAME"]
    with closing(sqlite3.connect(name, timeout=20, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield
        holder.execute("ROLLBACK")


def test_a_table_that_is_missing_for_a_while_is_waited_for(
    nursery: Nursery, receiver: Receiver
) -> None:
    child = nursery.fork("work", settings={"ANOSYS_INGESTION_URL": receiver.url})
    enqueue()
    wait_until_settled(30)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE observability_delivery RENAME TO hidden_delivery")
    try:
        eventually(lambda: nursery.log.count("The worker goes on after") >= 2, 30)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE hidden_delivery RENAME TO observability_delivery")
    enqueue()
    wait_until_settled(RECOVERY_SECONDS)
    assert child.exit_code is None
    assert len(receiver.stored) == 2


@on_postgres
def test_connections_that_the_server_ends_are_made_anew(
    nursery: Nursery, receiver: Receiver
) -> None:
    receiver.always(answer(200, delay=0.02))
    child = nursery.fork("work", settings={"ANOSYS_INGESTION_URL": receiver.url})
    expected, ended = set(), 0
    for _ in range(times(200, 8)):
        expected.update(enqueue_many(10))
        time.sleep(0.15)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'nursery' AND datname = current_database()"
            )
            ended += len(cursor.fetchall())
    assert ended
    left = Delivery.objects.outstanding().count()
    eventually(lambda: not left or Delivery.objects.outstanding().count() < left, RECOVERY_SECONDS)
    # At full size the cuts may have left most of two thousand.
    wait_until_settled(max(RECOVERY_SECONDS, left * SECONDS_EACH))
    assert child.exit_code is None
    assert set(receiver.stored) == expected


@on_postgres
@pytest.mark.postgres
def test_a_server_that_restarts_in_mid_delivery_is_waited_for(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.always(answer(200, delay=0.02))
    settings = {"ANOSYS_INGESTION_URL": receiver.url}
    with postgres.temporary_cluster() as cluster:
        migrate(cluster.url)
        with running_nursery(cluster.url, tmp_path) as nursery:
            child = nursery.fork("work", settings=settings)
            for number in range(1, 1 + times(5, 1)):
                assert nursery.fork("enqueue", 200, settings=settings).wait() == 0, nursery.log
                eventually(lambda: len(receiver.stored) > 200 * number - 150, 30)  # noqa: B023
                cluster.stop()
                time.sleep(times(5, 1))
                cluster.start()
                assert nursery.fork("enqueue", 1, settings=settings).wait() == 0, nursery.log
                eventually(lambda: unsettled(cluster.url) == 0, RECOVERY_SECONDS + 10)
            assert child.exit_code is None
            assert "The worker goes on after" in nursery.log
    assert len(receiver.stored) == times(5, 1) * 201


def migrate(url: str) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity=0"],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": url},
        check=True,
    )


def unsettled(url: str) -> int:
    with psycopg.connect(url) as plain:
        [found] = plain.execute(
            "SELECT count(*) FROM observability_delivery WHERE settled_at IS NULL"
        ).fetchall()
    return int(found[0])


def test_neither_cycles_nor_restarts_leak_connections_files_or_threads(
    nursery: Nursery, receiver: Receiver
) -> None:
    receiver.always(answer(500))  # So that there is something to send in every life.
    enqueue()
    restarts = times(100, 8)
    child = nursery.fork(
        "restart_often",
        restarts,
        times(1000, 100),
        settings={"ANOSYS_INGESTION_URL": receiver.url},
        values={
            "observability.outbox.BACKOFF_CAP_SECONDS": 0.01,
            "observability.worker.GATHER_SECONDS": 0.0,
            "observability.worker.PACE_SECONDS": 0.0,
        },
    )
    eventually(lambda: "after the last" in nursery.log, 300)
    first, last = [json.loads(line) for line in nursery.log.splitlines() if line.startswith("{")]
    assert last["threads"] <= first["threads"]
    assert last["files"] <= first["files"] + 2
    assert len(receiver.received) >= restarts
    # PostgreSQL's pool keeps a few; one for each life would be more than it has.
    assert connections_of(child.pid) < restarts
    assert "goes on after" not in nursery.log


def connections_of(pid: int) -> int:
    """How many connections to the database the nursery's only child holds."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'nursery'"
                " AND datname = current_database()"
            )
            return int(cursor.fetchone()[0])
    opened = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
    return opened.count(str(connection.settings_dict["NAME"]))

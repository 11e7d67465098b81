"""A database that is locked, restarted or full: a clear error or the whole answer, never a half."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import string
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.chatkit_client import ChatClient, message
from tests.faults.scale import times
from tests.postgres import USER, Cluster, temporary_cluster
from tests.servers import Database, Server, wait_until
from tests.standins.anosys import anosys_standin

from .site_servers import (
    OwnPostgresDatabase,
    forwarding_to,
    only_on_postgres,
    only_on_sqlite,
    said_in,
    server_on,
    turns_of,
    wait_until_all_is_delivered,
    wait_until_no_turn_runs,
)

PATIENCE = times(6, 1)
"""Seconds for which SQLite waits for a lock in these tests."""
LOCKED_SECONDS = times(20, 3)
LONG = " ".join(f"word {number}" for number in range(300))
"""The demo model repeats it: an answer of a few seconds."""
ATTEMPTS = 40


@contextmanager
def site_on(tmp_path: Path, database: Database, **env: str) -> Iterator[tuple[Server, ChatClient]]:
    """A site that forwards what it has to tell, and alice. In the end nothing is half written."""
    with (
        anosys_standin() as anosys,
        server_on(tmp_path, database, **forwarding_to(anosys), **env) as server,
        ChatClient(server.url) as alice,
    ):
        yield server, alice.sign_in("alice")
        wait_until_all_is_delivered(server)
        print(Counter(turn["status"] for turn in turns_of(server)))  # noqa: T201
        assert_no_turn_is_half_written(server)
        assert {turn["trace_id"] for turn in turns_of(server)} <= set(anosys.event_ids)
        # It works as if nothing had been.
        stream = alice.chat("Hello", X_Request_ID="after-the-fault")
        assert (stream.errors, "You said: “Hello”" in stream.text) == ([], True)


def assert_no_turn_is_half_written(server: Server) -> None:
    for turn in turns_of(server):
        said = dict(said_in(server, turn))
        # One whose end could not be written was swept, with what the conversation has of it.
        assert (turn["total_ms"] is None) == (turn["status"] == "interrupted")
        assert said["prompt"] == turn["prompt"]
        assert said.get("response", "") == turn["response"]
        if turn["status"] == "completed":
            assert turn["response"]


def ask(client: ChatClient, prompt: str, between: Callable[[], object] = lambda: None) -> str:
    """How it ended for the client: ``whole``, or the code of a clear error.

    ``between`` is called as soon as there is text.
    """
    with client.http.stream(
        "POST",
        "/chatkit",
        json={"type": "threads.create", "params": {"input": message(prompt)}},
        headers=client.headers,
        timeout=LOCKED_SECONDS * 4 + 20,
    ) as response:
        if response.status_code != 200:
            error = json.loads(response.read())["error"]
            assert error["message"]
            return str(error["code"])
        events: list[dict[str, Any]] = []
        is_called = False
        for line in response.iter_lines():
            if line:
                events.append(json.loads(line.removeprefix("data: ")))
            if not is_called and '"delta"' in line:
                is_called = True
                between()
    if events[-1]["type"] == "error":
        return str(events[-1]["code"])
    assert events[-1]["type"] == "thread.item.done"
    [content] = events[-1]["item"]["content"]
    assert content["text"].startswith(f"You said: “{prompt}”")
    return "whole"


# -- SQLite ----------------------------------------------------------------------------------------


class Lock:
    """A connection beside the site's that can keep all others from writing."""

    def __init__(self, database: Database) -> None:
        self._connection = sqlite3.connect(
            database._path, timeout=20, isolation_level=None, check_same_thread=False
        )
        self._since = 0.0

    def take(self) -> None:
        self._connection.execute("begin exclusive")
        self._since = time.monotonic()

    def leave_after(self, seconds: float) -> None:
        """Counted from its taking: at once where so much has passed."""
        time.sleep(max(0.0, self._since + seconds - time.monotonic()))
        self._connection.execute("rollback")

    def close(self) -> None:
        self._connection.close()


@only_on_sqlite
@pytest.mark.timeout(600)
def test_a_database_that_is_locked_costs_time_and_at_most_an_error(tmp_path: Path) -> None:
    database = Database(tmp_path / "chat.sqlite3")
    with site_on(tmp_path, database, SITE_PATIENCE=str(PATIENCE)) as (server, alice):
        with closing(Lock(database)) as lock, ThreadPoolExecutor(1) as aside:

            def lock_for_a_moment() -> None:
                lock.take()
                aside.submit(lock.leave_after, PATIENCE / 2)

            assert ask(alice, LONG, lock_for_a_moment) == "whole"
            wait_until_no_turn_runs(server)
            assert [turn["status"] for turn in turns_of(server)] == ["completed"]

            streamed = ask(alice, LONG, lock.take)
            asked_meanwhile = ask(alice, LONG)
            lock.leave_after(LOCKED_SECONDS)
        print(f"locked: {streamed}, then {asked_meanwhile}")  # noqa: T201
        assert streamed in {"whole", "stream.error"}
        assert asked_meanwhile in {"whole", "stream.error", "server_error"}
        assert asked_meanwhile != "whole", "It was locked all the time."


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own that holds so much; skips the test where none may be mounted."""
    folder.mkdir()
    mount: list[str | Path] = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
    if shutil.which("mount") is None or subprocess.call(mount, stderr=subprocess.DEVNULL):
        pytest.skip("A small disk is mounted by root alone.")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)  # noqa: S607


def fill(disk: Path) -> Path:
    """A file that takes all that is left."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    return filler


def assert_a_full_disk_is_survived(alice: ChatClient, disk: Path) -> None:
    filler = Path()

    def fill_up() -> None:
        nonlocal filler
        filler = fill(disk)

    def something_long() -> str:
        """What no compression makes small, for what there is of room in pages."""
        return "".join(random.choices(string.ascii_letters, k=8000))  # noqa: S311

    assert ask(alice, "Hello") == "whole"
    outcomes = [ask(alice, LONG, fill_up)]
    while set(outcomes) == {"whole"} and len(outcomes) < ATTEMPTS:
        fill(disk)
        outcomes.append(ask(alice, something_long()))
    outcomes.append(ask(alice, something_long()))
    filler.unlink()
    print(f"full: {outcomes}")  # noqa: T201
    assert set(outcomes) <= {"whole", "stream.error", "server_error"}
    assert set(outcomes) != {"whole"}, "The disk was not full."
    wait_until(lambda: ask(alice, "Hello") == "whole", 30, "an answer with the disk free again")


@only_on_sqlite
def test_a_full_disk_costs_errors_until_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:
        database = Database(disk / "chat.sqlite3")
        with site_on(tmp_path, database) as (_server, alice):
            assert_a_full_disk_is_survived(alice, disk)


# -- PostgreSQL ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with temporary_cluster() as cluster:
        yield cluster


@only_on_postgres
@pytest.mark.postgres
def test_a_restart_of_the_server_in_mid_stream_costs_at_most_errors(
    tmp_path: Path, cluster: Cluster
) -> None:
    def restart() -> None:
        cluster.stop()
        cluster.start()

    with site_on(tmp_path, OwnPostgresDatabase(cluster.url, USER)) as (_server, alice):
        assert ask(alice, LONG, restart) in {"whole", "stream.error"}
        outcomes = []

        def is_whole() -> bool:
            outcomes.append(ask(alice, "Hello"))
            return outcomes[-1] == "whole"

        wait_until(is_whole, 30, "an answer after the restart")
        print(f"after the restart: {outcomes}")  # noqa: T201

        # While it is down, and not in the middle of an answer.
        cluster.stop()
        assert ask(alice, "Hello") == "server_error"
        cluster.start()
        wait_until(is_whole, 30, "an answer after the second start")


@only_on_postgres
@pytest.mark.postgres
def test_a_full_tablespace_costs_errors_until_there_is_room(
    tmp_path: Path, cluster: Cluster
) -> None:
    # Not below pytest's folder: PostgreSQL's user may not look into that.
    with small_disk(cluster.folder / "disk", 48) as disk:
        space = disk / "space"
        space.mkdir()
        shutil.chown(space, cluster.folder.owner())
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            connection.execute(f"create tablespace small location '{space}'".encode())
            connection.execute(b"create database full_chat tablespace small")
        url = cluster.url.removesuffix(USER) + "full_chat"
        database = OwnPostgresDatabase(url, "full_chat")
        with site_on(tmp_path, database) as (_server, alice):
            assert_a_full_disk_is_survived(alice, disk)
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            connection.execute(b"drop database full_chat with (force)")
            connection.execute(b"drop tablespace small")

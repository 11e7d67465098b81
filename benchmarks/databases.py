"""Databases full of turns, made once and kept under ``var/bench``."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests import postgres

FOLDER = Path(__file__).resolve().parent.parent / "var" / "bench"


def sqlite_url(turns: int) -> str:
    """Of the file for so many turns, which may not be there yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{FOLDER / f'turns-{turns}.sqlite3'}"


@contextmanager
def kept_cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL server that runs as long as the block does; its data stay.

    Raises tests.postgres.PostgresUnavailableError where there are no server programs.
    """
    folder = FOLDER / "postgres"
    if not folder.exists():
        made = postgres.start_cluster()
        made.stop()
        FOLDER.mkdir(parents=True, exist_ok=True)
        shutil.move(made.folder, folder)
    programs = postgres.server_programs()
    assert programs is not None  # noqa: S101 (They made the folder.)
    cluster = postgres.Cluster(programs=programs, folder=folder, port=_free_port())
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


def postgres_url(cluster: postgres.Cluster, turns: int) -> str:
    """Of the database for so many turns, made where it is missing."""
    name = f"turns_{turns}"
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        if not connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", (name,)
        ).fetchone():
            connection.execute(f"CREATE DATABASE {name}")
    return cluster.url.rpartition("/")[0] + f"/{name}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port

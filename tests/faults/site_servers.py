"""Sites for faults: several processes of one, one on a database that a test may break."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from observability import outbox
from tests import servers
from tests.servers import PASSWORD, Database, PostgresDatabase, Server, django_server, wait_until
from tests.standins.anosys import AnosysStandin

SETTINGS = "tests.faults.site_settings"
IS_POSTGRES = os.environ.get("DATABASE_URL", "").startswith(("postgres:", "postgresql:"))
only_on_postgres = pytest.mark.skipif(
    not IS_POSTGRES, reason="Of PostgreSQL; the run on that does it."
)
only_on_sqlite = pytest.mark.skipif(IS_POSTGRES, reason="Of SQLite; the run on that does it.")

SETTLED_SECONDS = 60.0
LIVING_CLAIM_SECONDS = 6.0


def forwarding_to(anosys: AnosysStandin) -> dict[str, str]:
    """The environment of a site that forwards there."""
    return {"ANOSYS_API_KEY": anosys.api_key, "ANOSYS_RESOLVER_URL": anosys.resolver_url}


@contextmanager
def servers_of_one_site(tmp_path: Path, count: int, **env: str) -> Iterator[list[Server]]:
    """So many processes on ports of their own, and one database."""
    with django_server(tmp_path, settings_module=SETTINGS, **env) as first:
        others = [Server(tmp_path, first._environment, first.database) for _ in range(count - 1)]
        try:
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(Server.start, others))
            yield [first, *others]
        finally:
            for server in others:
                if server.process.poll() is None:
                    server.kill()


@contextmanager
def server_on(tmp_path: Path, database: Database, **env: str) -> Iterator[Server]:
    """A site on an empty database of the test's own, which it migrates and peoples."""
    environment = {
        **os.environ,
        "DATABASE_URL": database.url,
        "DJANGO_DEBUG": "1",
        "DJANGO_SECRET_KEY": servers.SECRET_KEY,
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        **env,
    }
    if isinstance(database, PostgresDatabase):
        prepare = [sys.executable, "-c", servers._PREPARE.format(password=PASSWORD)]
        subprocess.run(prepare, check=True, cwd=servers.ROOT, env=environment)
    else:
        shutil.copyfile(servers._template()._path, database._path)
    server = Server(tmp_path, environment, database)
    try:
        server.start()
        yield server
    finally:
        server.close()


class OwnPostgresDatabase(PostgresDatabase):
    """It goes with the test's own cluster."""

    def drop(self) -> None:
        pass


# -- what the database says ------------------------------------------------------------------------


def execute(database: Database, sql: str, *values: object) -> None:
    """Change something behind the site's back."""
    if isinstance(database, PostgresDatabase):
        with psycopg.connect(database.url) as connection:
            connection.execute(sql.encode(), values)
    else:
        with closing(sqlite3.connect(database._path, timeout=20)) as connection:
            connection.execute(sql.replace("%s", "?"), values)
            connection.commit()


def turns_of(server: Server) -> list[dict[str, Any]]:
    return server.query("select * from observability_turn order by id")


def turn_of(server: Server, request_id: str) -> dict[str, Any]:
    """The turn that answered this request, as soon as it is settled."""
    return server.wait_for_row(
        "select * from observability_turn where request_id = %s and status <> 'running'",
        request_id,
        timeout=SETTLED_SECONDS,
    )


def said_in(server: Server, turn: dict[str, Any]) -> list[tuple[str, str]]:
    rows = server.query(
        "select kind, text from observability_message where turn_id = %s order by position",
        turn["id"],
    )
    return [(row["kind"], row["text"]) for row in rows]


def wait_until_no_turn_runs(server: Server) -> None:
    running = "select request_id from observability_turn where status = 'running'"
    wait_until(lambda: not server.query(running), SETTLED_SECONDS, "the end of all turns")


def wait_until_all_is_delivered(server: Server) -> None:
    """Each turn has a delivery, and each delivery was taken. Raises AssertionError."""
    wait_until_no_turn_runs(server)

    def is_all_delivered() -> bool:
        _end_old_claims(server.database)
        return not server.query(_OWED)

    try:
        wait_until(is_all_delivered, SETTLED_SECONDS, "the delivery of all turns")
    except AssertionError as error:
        error.add_note(str(server.query(_OWED)[:10]))
        raise


_OWED = (
    "select turn.id, delivery.state, delivery.attempts, delivery.last_error"
    " from observability_turn turn left join observability_delivery delivery"
    " on delivery.turn_id = turn.id"
    " where delivery.state is null or delivery.state <> 'delivered'"
)


def _end_old_claims(database: Database) -> None:
    """As if the minute had passed for which a killed process' claims hold.

    The living settle theirs at once: a request may take a third of a turn's lease, a second.
    """
    moment = datetime.now(UTC) + timedelta(seconds=outbox.LEASE_SECONDS - LIVING_CLAIM_SECONDS)
    is_postgres = isinstance(database, PostgresDatabase)
    execute(
        database,
        "update observability_delivery set lease_expires_at = %s"
        " where state = 'leased' and lease_expires_at < %s",
        "2000-01-01 00:00:00",
        moment if is_postgres else moment.strftime("%Y-%m-%d %H:%M:%S.%f"),
    )

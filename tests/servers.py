"""The site as it is deployed: a real uvicorn process, a database of its own, real signals."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import psycopg
from psycopg.rows import dict_row

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90.0
STOP_SECONDS = 15.0
UVICORN_ARGUMENTS = (
    "chatsite.asgi:application",
    "--host=127.0.0.1",
    "--no-access-log",
    "--timeout-graceful-shutdown=1",
)
SECRET_KEY = "for these tests only, for as long as they run"
PASSWORD = "correct horse battery"

T = TypeVar("T")

_PREPARE = """
import django
django.setup()
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management import call_command
call_command("migrate", verbosity=0)
password = make_password({password!r})
for name in ("alice", "bob"):
    User.objects.create(username=name, password=password)
User.objects.create(username="operator", password=password, is_staff=True, is_superuser=True)
"""


class Server:
    """One site: its process, its database, its log. Starts with ``start``; always ``close`` it."""

    def __init__(self, folder: Path, environment: dict[str, str], database: Database) -> None:
        self.database = database
        self.url = ""
        self.process: subprocess.Popen[bytes]
        self._environment = environment
        self._log_path = folder / f"server-{uuid.uuid4().hex[:8]}.log"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What the process has written so far, over all its starts."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """The rows of an SQL statement whose placeholders are ``%s``."""
        return self.database.query(sql, *values)

    def wait_for_row(self, sql: str, *values: object, timeout: float = 10.0) -> dict[str, Any]:
        """The only row of a query, once it is there. Raises AssertionError after ``timeout`` s."""
        rows = wait_until(lambda: self.query(sql, *values), timeout, f"{sql} {values}")
        assert len(rows) == 1, rows
        return rows[0]

    def manage(self, *arguments: str) -> str:
        """The output of a management command. Raises AssertionError with it if it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            capture_output=True,
            check=False,
            cwd=ROOT,
            env=self._environment,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        """Start and wait until ``/readyz`` is content. The port is the one of the last start."""
        begin = len(self.log) if self._log_path.exists() else 0
        port = str(urlsplit(self.url).port or 0)
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", *UVICORN_ARGUMENTS, "--port", port],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environment,
            )
        wait_until(lambda: self._is_ready(begin), START_SECONDS, "the server's start")

    def _is_ready(self, begin: int) -> bool:
        assert self.process.poll() is None, f"The server did not start:\n{self.log}"
        said = re.search(r"running on (http://127\.0\.0\.1:\d+)", self.log[begin:])
        if said is None:
            return False
        self.url = said[1]
        try:
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        except httpx.ConnectError:
            # Where there are several processes, the first says so before the others listen.
            return False

    def terminate(self, timeout: float = STOP_SECONDS) -> int:
        """Send SIGTERM and wait for the end. Returns the exit status.

        Raises subprocess.TimeoutExpired where the process is still there after ``timeout`` seconds.
        """
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def restart(self) -> None:
        """Start anew at the same address, after what is still there was terminated."""
        if self.process.poll() is None:
            self.terminate()
        self.start()

    def close(self) -> None:
        try:
            if self.process.poll() is None:
                self.terminate()
        except subprocess.TimeoutExpired:
            self.kill()
        finally:
            self.database.drop()


@contextmanager
def django_server(
    tmp_path: Path, *, settings_module: str = "chatsite.settings", **env: str
) -> Iterator[Server]:
    """A running site for as long as the block runs; alice, bob and operator may sign in.

    ``env`` is added to the process' environment.
    """
    database = _new_database(tmp_path)
    environment = {
        **os.environ,
        "DATABASE_URL": database.url,
        "DJANGO_DEBUG": "1",
        "DJANGO_SECRET_KEY": SECRET_KEY,
        "DJANGO_SETTINGS_MODULE": settings_module,
        **env,
    }
    server = Server(tmp_path, environment, database)
    try:
        server.start()
        yield server
    finally:
        server.close()


def wait_until(probe: Callable[[], T], timeout: float, what: str) -> T:
    """The first true value of ``probe``. Raises AssertionError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Not in {timeout} s: {what}")
        time.sleep(0.02)
    return value


# -- databases -------------------------------------------------------------------------------------


class Database:
    """A migrated SQLite file."""

    _tables = "select name from sqlite_master where type = 'table'"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"

    def query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self._path, timeout=20)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql.replace("%s", "?"), values)]

    def contents(self) -> str:
        """Every value of every row of every table, as text to search in."""
        tables = [row["name"] for row in self.query(self._tables)]
        rows = [row for table in tables for row in self.query(f'select * from "{table}"')]  # noqa: S608
        return "\n".join(str(value) for row in rows for value in row.values())

    def connections(self, pid: int) -> int:
        """How many connections the process holds: the files that it has open, where Linux tells."""
        opened = Path(f"/proc/{pid}/fd").iterdir()
        return sum(_target(each) == self._path for each in opened)

    def drop(self) -> None:
        """The file goes with the test's folder."""


class PostgresDatabase(Database):
    """A migrated database of the server that the suite runs on."""

    _tables = "select tablename as name from pg_tables where schemaname = 'public'"

    def __init__(self, server_url: str, name: str) -> None:
        self._server_url = server_url
        self._name = name
        self.url = urlsplit(server_url)._replace(path=f"/{name}").geturl()

    def query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(sql.encode(), values).fetchall()

    def connections(self, pid: int) -> int:
        rows = self.query(
            "select count(*) as n from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        return int(rows[0]["n"])

    def drop(self) -> None:
        _on_postgres(self._server_url, f'drop database if exists "{self._name}" with (force)')


def _new_database(folder: Path) -> Database:
    template, name = _template(), f"chat_{uuid.uuid4().hex[:12]}"
    if isinstance(template, PostgresDatabase):
        _on_postgres(
            os.environ["DATABASE_URL"], f'create database "{name}" template "{template._name}"'
        )
        return PostgresDatabase(os.environ["DATABASE_URL"], name)
    path = folder / f"{name}.sqlite3"
    shutil.copyfile(template._path, path)
    return Database(path)


@cache
def _template() -> Database:
    """Migrated and peopled once per run, then copied."""
    server_url = os.environ.get("DATABASE_URL", "")
    template: Database
    if server_url.startswith(("postgres:", "postgresql:")):
        name = f"chat_template_{uuid.uuid4().hex[:12]}"
        _on_postgres(server_url, f'create database "{name}"')
        template = PostgresDatabase(server_url, name)
        atexit.register(template.drop)
    else:
        folder = tempfile.mkdtemp(prefix="chat-template-")
        atexit.register(shutil.rmtree, folder)
        template = Database(Path(folder) / "template.sqlite3")
    subprocess.run(
        [sys.executable, "-c", _PREPARE.format(password=PASSWORD)],
        check=True,
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": template.url,
            "DJANGO_DEBUG": "1",
            "DJANGO_SECRET_KEY": SECRET_KEY,
            "DJANGO_SETTINGS_MODULE": "chatsite.settings",
        },
    )
    return template


def _on_postgres(server_url: str, statement: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement.encode())


def _target(link: Path) -> Path | None:
    """What a link points to; None where it went away meanwhile."""
    try:
        return link.readlink()
    except FileNotFoundError:
        return None

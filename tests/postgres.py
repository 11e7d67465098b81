"""A temporary PostgreSQL cluster on loopback, for tests and for whole test runs.

``python -m tests.postgres -- COMMAND`` runs the command with ``DATABASE_URL`` pointing at one.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

USER = "chat"
START_SECONDS = 30
STOP_SECONDS = 20
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # Nothing here outlives the machine's power: the tests need not wait for its disk.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}


class PostgresUnavailableError(Exception):
    """There is no usable PostgreSQL server on this machine; the message says what to do."""


def server_programs() -> Path | None:
    """The folder of ``initdb`` and ``postgres``: on PATH, or the newest of Debian's folders."""
    folders = [Path(found).parent for found in [shutil.which("initdb")] if found]
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: (len(folder.parent.name), folder.parent.name),
        reverse=True,
    )
    return next((each for each in folders if _holds_server(each)), None)


def _holds_server(folder: Path) -> bool:
    return all((folder / name).exists() for name in ("initdb", "postgres"))


@dataclass(kw_only=True)
class Cluster:
    """A running server with one empty database; ``url`` is what DATABASE_URL takes."""

    programs: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgres://{USER}@127.0.0.1:{self.port}/{USER}"

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises PostgresUnavailableError with the server's log if it doesn't.
        """
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self._data, "-p", str(self.port), *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                # Ctrl-C is for the tests; they stop the server when they are done with it.
                start_new_session=True,
                **_unprivileged(),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise PostgresUnavailableError(
                    f"PostgreSQL did not start:\n{self._log.read_text(errors='replace')}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server, closing what is connected; its data stay until ``remove``."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(STOP_SECONDS)
        self.process = None

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self.folder)

    def initialise(self) -> None:
        """Lay out the data folder. Raises PostgresUnavailableError with what ``initdb`` said."""
        settings = ["--username", USER, "--encoding=UTF8", "--locale=C", "--auth=trust"]
        made = subprocess.run(
            [self.programs / "initdb", "-D", self._data, "--no-sync", *settings],
            capture_output=True,
            check=False,
            cwd=self.folder,
            text=True,
            **_unprivileged(),
        )
        if made.returncode:
            raise PostgresUnavailableError(f"initdb failed:\n{made.stdout}{made.stderr}")

    def create_database(self) -> None:
        with psycopg.connect(self._maintenance_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {USER}")

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    @property
    def _maintenance_url(self) -> str:
        return f"postgres://{USER}@127.0.0.1:{self.port}/postgres"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._maintenance_url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def start_cluster() -> Cluster:
    """A new cluster, started. Whoever asked for it calls ``remove``.

    Raises PostgresUnavailableError where the server programs are missing or don't work.
    """
    programs = server_programs()
    if programs is None:
        raise PostgresUnavailableError(
            "PostgreSQL's server programs are missing: apt-get install postgresql"
        )
    folder = Path(tempfile.mkdtemp(prefix="chat-postgres-"))
    cluster = Cluster(programs=programs, folder=folder, port=_free_port())
    try:
        if owner := _unprivileged().get("user"):
            shutil.chown(folder, owner)
        cluster.initialise()
        cluster.start()
        cluster.create_database()
    except BaseException:
        cluster.remove()
        raise
    return cluster


@contextmanager
def temporary_cluster() -> Iterator[Cluster]:
    """A cluster for as long as the block runs."""
    cluster = start_cluster()
    try:
        yield cluster
    finally:
        cluster.remove()


def _unprivileged() -> dict[str, Any]:
    """For ``subprocess``: PostgreSQL refuses to run as root, so root runs it as its own user."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def main(arguments: Sequence[str]) -> int | str:
    """Run the command after ``--`` against a temporary cluster.

    Returns the command's exit code, or in words why it was not run.
    """
    if arguments[:1] != ["--"] or len(arguments) == 1:
        return "usage: python -m tests.postgres -- COMMAND [ARGUMENT ...]"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with temporary_cluster() as cluster:
            return _run(arguments[1:], {**os.environ, "DATABASE_URL": cluster.url})
    except PostgresUnavailableError as error:
        return str(error)
    except KeyboardInterrupt:
        return 130


def _run(command: Sequence[str], environment: dict[str, str]) -> int:
    with subprocess.Popen(command, env=environment) as process:
        # The terminal sends Ctrl-C to the command as well: it ends in its own time, then we do.
        signal.signal(signal.SIGINT, lambda signum, frame: None)
        signal.signal(signal.SIGTERM, lambda signum, frame: process.terminate())
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Processes to compare: the SDK by itself and ours with everything on, under the same uvicorn."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch
from urllib.request import urlopen

from tests import postgres

from .load import Load, Seen

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0
STOP_SECONDS = 20.0
DRAIN_SECONDS = 60.0
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
"""PostgreSQL's own defaults, which the tests' clusters do without."""
RESPONDS = {
    "deltas": {"BENCHMARK_CHATKIT_SERVER": "benchmarks.answers.Deltas"},
    "short": {"BENCHMARK_CHATKIT_SERVER": "benchmarks.answers.Short"},
    "agent": {"BENCHMARK_CHATKIT_AGENT": "benchmarks.answers.agent"},
}
"""What ours needs to answer as ``benchmarks.bare`` does in its application of that name."""
_SECRET_KEY = secrets.token_urlsafe(50)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(kw_only=True)
class Server:
    """A uvicorn with its workers."""

    process: subprocess.Popen[bytes]
    port: int
    sessions: list[str]
    sink_port: int | None = None

    def pids(self) -> list[int]:
        """Of the process and of all that it has started."""
        found = [self.process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        return found

    def keep_to_cores(self) -> None:
        """Each process to a core of its own, the last first, as CHATKIT_OWN_CORE has it for ours.
        For processes of one thread.
        """
        cores = sorted(os.sched_getaffinity(0), reverse=True)
        for number, pid in enumerate(self.pids()):
            os.sched_setaffinity(pid, {cores[number % len(cores)]})

    def cpu_seconds(self) -> float:
        """What they have spent so far, in user and in kernel mode, all threads together."""
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS

    def resident_bytes(self) -> int:
        """What they hold in memory."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * os.sysconf("SC_PAGESIZE")

    def posts(self) -> int:
        """How many the sink has taken."""
        with urlopen(f"http://127.0.0.1:{self.sink_port}/") as answer:
            return int(answer.read())

    def wait_until_forwarded(self, posts: int) -> None:
        """Raises TimeoutError where the sink has not got so many in DRAIN_SECONDS."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while (taken := self.posts()) < posts:
            if time.monotonic() > deadline:
                raise TimeoutError(f"The sink got {taken} of {posts}.")
            time.sleep(0.1)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One load on one server."""

    seen: Seen
    cpu_seconds: float
    """Of the server, with what it forwards after the last answer."""
    drain_seconds: float
    """How long after the last answer the last delivery was made."""


def measure(
    server: Server,
    *,
    clients: int,
    turns: int,
    words: int,
    when_answered: Callable[[], None] = lambda: None,
) -> Measured:
    """Put a load on the server; ``when_answered`` is called as soon as all answers have ended.

    Raises subprocess.CalledProcessError where an answer was wrong.
    """
    load = Load(port=server.port, sessions=server.sessions[:clients], turns=turns, words=words)
    posts = server.posts() if server.sink_port else 0
    before = server.cpu_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(asdict(load)),
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    answered_at = time.monotonic()
    when_answered()
    if server.sink_port:
        server.wait_until_forwarded(posts + turns)
    return Measured(
        seen=Seen(**json.loads(done.stdout)),
        cpu_seconds=server.cpu_seconds() - before,
        drain_seconds=time.monotonic() - answered_at,
    )


@contextmanager
def bare_server(
    respond: str, *, folder: Path, clients: int, processes: int, own_core: bool = False
) -> Iterator[Server]:
    """The SDK by itself. ``respond`` is one of RESPONDS."""
    sessions = [secrets.token_hex(16) for _ in range(clients)]
    with _uvicorn(f"benchmarks.bare:{respond}", folder, processes, {}) as (process, port):
        server = Server(process=process, port=port, sessions=sessions)
        if own_core:
            server.keep_to_cores()
        yield server


@contextmanager
def our_server(
    respond: str,
    *,
    database: str,
    folder: Path,
    clients: int,
    processes: int,
    own_core: bool = False,
) -> Iterator[Server]:
    """The site as in production, with so many people signed in to a new database."""
    sessions = _signed_in(database, clients)
    with sink() as sink_port:
        environment = our_environment(respond, database, sink_port)
        environment["CHATKIT_OWN_CORE"] = str(int(own_core))
        with _uvicorn("chatsite.asgi:application", folder, processes, environment) as started:
            process, port = started
            yield Server(process=process, port=port, sessions=sessions, sink_port=sink_port)


@contextmanager
def bare_django_server(
    server: str, *, database: str, folder: Path, clients: int
) -> Iterator[Server]:
    """One process of Django with a ChatKitServer of that dotted path, and without us."""
    environment = {
        "DATABASE_URL": database,
        "DJANGO_SECRET_KEY": _SECRET_KEY,
        "BENCHMARK_SERVER": server,
    }
    sessions = _signed_in(database, clients, "django.contrib.auth.backends.ModelBackend")
    with _uvicorn("benchmarks.bare_django:application", folder, 1, environment) as (process, port):
        yield Server(process=process, port=port, sessions=sessions)


def _signed_in(
    database: str, people: int, backend: str = "chatkit_endpoint.backends.ModelBackend"
) -> list[str]:
    """The keys of so many sessions in a new database."""
    done = subprocess.run(  # noqa: S603 (The program is ours.)
        [sys.executable, "-m", "benchmarks.people", database, str(people), backend],
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        # The same key as the server's: what a session holds is signed with it.
        env=os.environ | {"DJANGO_SECRET_KEY": _SECRET_KEY},
        text=True,
    )
    found: list[str] = json.loads(done.stdout)
    return found


def our_environment(respond: str, database: str, sink_port: int) -> dict[str, str]:
    """Everything on, and limits that count but never refuse."""
    return {
        "DATABASE_URL": database,
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "DJANGO_DEBUG": "0",
        "DJANGO_SECRET_KEY": _SECRET_KEY,
        "ANOSYS_INGESTION_URL": f"http://127.0.0.1:{sink_port}/",
        "ANOSYS_API_KEY": "a-key",
        "CHATKIT_RATE_LIMIT": "999999/d",
        "CHATKIT_ADDRESS_RATE_LIMIT": "999999/d",
        "BENCHMARK_CHATKIT_SERVER": "",
        "BENCHMARK_CHATKIT_AGENT": "",
        **RESPONDS[respond],
    }


@contextmanager
def databases(vendor: str, folder: Path, count: int) -> Iterator[list[str]]:
    """URLs of so many empty databases: files, or those of a PostgreSQL that waits for its disk."""
    names = [f"bench_{number}" for number in range(count)]
    if vendor == "sqlite":
        yield [f"sqlite:///{folder / name}.sqlite3" for name in names]
        return
    with ExitStack() as stack:
        with patch.dict(postgres.SETTINGS, DURABLE):
            cluster = stack.enter_context(postgres.temporary_cluster())
        yield [_create_database(cluster.url, name) for name in names]


def _create_database(url: str, name: str) -> str:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return url.rpartition("/")[0] + f"/{name}"


@contextmanager
def sink() -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sink"], stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert process.stdout is not None  # noqa: S101 (It is piped.)
        yield int(process.stdout.readline())
    finally:
        _stop(process)


@contextmanager
def _uvicorn(
    application: str, folder: Path, processes: int, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = _free_port()
    path = folder / f"server-{port}.log"
    options = ["--port", str(port), "--workers", str(processes), "--no-access-log"]
    with path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 (The program is ours.)
            [sys.executable, "-m", "uvicorn", application, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=os.environ | environment,
        )
    try:
        _wait_for_workers(process, path, processes)
        yield process, port
    finally:
        _stop(process)


def _wait_for_workers(process: subprocess.Popen[bytes], log: Path, processes: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while log.read_bytes().count(b"Application startup complete") < processes:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The server did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port

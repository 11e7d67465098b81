"""How fast old conversations go, and what a chat notices of it: ``python -m benchmarks.purging``.

``manage.py purge_threads`` purges them all, in a process of its own: once by itself, once while
somebody chats, one question after the other, with an agent whose model is a script that never
waits. A row is counted for each thread, item, attachment, message, row of spans and fact that was
deleted, and for each turn and delivery that lost its text or was settled: what the tables had
before less what they have afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from tests.servers import Database, PostgresDatabase

from .databases import FOLDER
from .load import Load, run
from .servers import ROOT, Server, databases, our_environment, our_server
from .tables import table

ROWS_PER_SECOND = 20_000
GROWTH_MB = 64
SLOWER = 2
OLD = ("--older-than", "30")
NOTHING = ("--older-than", "36500")
ROUNDS = 4
"""How often a purge beside a chat begins anew: what else the machine does then counts in both."""
WARM_UP_SECONDS = 3
IDLE_SECONDS = 15
PURGE_SECONDS = 25
"""How long it is looked at in each round; then it is interrupted."""
PAUSE = 0.1
"""Between an answer and the next question, in seconds."""
WORDS = 40
_DELETED = ("chatkit_endpoint_thread", "chatkit_endpoint_threaditem", "chatkit_endpoint_attachment")
_OF_TURNS = ("observability_message", "observability_turnspans", "observability_turnfact")
_CHANGED = {"observability_turn": "text_purged_at", "observability_delivery": "settled_at"}
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Purged:
    """What one run of the command took."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True, kw_only=True)
class Chats:
    """What somebody waited for, in ms: for the first text, and for the end of each answer."""

    ttfts: list[float]
    turns: list[float]


class Purge:
    """``manage.py purge_threads`` as it runs."""

    def __init__(self, url: str, media: Path, *arguments: str) -> None:
        self._began = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 (The program is ours.)
            [sys.executable, "manage.py", "purge_threads", *arguments],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ
            | our_environment("agent", url, 0)
            | {"DJANGO_SETTINGS_MODULE": "benchmarks.purging_settings", "BENCHMARK_MEDIA": media},
            text=True,
        )
        self._peak_kb = self._ticks = 0

    def is_over(self) -> bool:
        """To be asked often: what it has used is read before it ends."""
        folder = Path(f"/proc/{self._process.pid}")
        for line in (folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                self._peak_kb = int(line.split()[1])
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        self._ticks = max(self._ticks, int(fields[11]) + int(fields[12]))
        return self._process.poll() is not None

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> Purged:
        """Wait for it. Raises subprocess.CalledProcessError where it fails."""
        while not self.is_over():
            time.sleep(0.05)
        seconds = time.monotonic() - self._began
        output, _ = self._process.communicate()
        sys.stderr.write(output)
        if self._process.returncode not in {0, 130}:
            raise subprocess.CalledProcessError(self._process.returncode, "purge_threads", output)
        return Purged(
            seconds=seconds, cpu_seconds=self._ticks / _TICKS, peak_mb=self._peak_kb / 1024
        )


def rows(database: Database) -> int:
    """How many there are that a purge of everything would delete, empty or settle."""
    selects = [f"select count(*) n from {name}" for name in (*_DELETED, *_OF_TURNS)]  # noqa: S608
    selects += [
        f"select count(*) n from {name} where {column} is null"  # noqa: S608
        for name, column in _CHANGED.items()
    ]
    return sum(int(database.query(select)[0]["n"]) for select in selects)


def chat(server: Server, found: Chats, goes_on: Callable[[float], bool]) -> None:
    """Ask one question after the other for as long as ``goes_on`` after so many seconds."""
    began = time.monotonic()
    while goes_on(time.monotonic() - began):
        load = Load(port=server.port, sessions=server.sessions[:1], turns=1, words=WORDS)
        seen = asyncio.run(run(load))
        found.ttfts.append(seen.ttft)
        found.turns.append(seen.turn)
        time.sleep(PAUSE)


def p95(times: Sequence[float]) -> float:
    return quantiles(times, n=20)[-1]


# -- databases -------------------------------------------------------------------------------------


@contextmanager
def two_copies(vendor: str, threads: int, folder: Path) -> Iterator[list[tuple[str, Path]]]:
    """Two databases with so many old threads, and the folders of their files.

    SQLite's is made once and kept under ``var/bench``.
    """
    if vendor == "sqlite":
        FOLDER.mkdir(parents=True, exist_ok=True)
        made, media = FOLDER / f"threads-{threads}.sqlite3", FOLDER / f"threads-{threads}-media"
        if not made.exists():
            new = made.with_suffix(".new")
            new.unlink(missing_ok=True)
            _generate(f"sqlite:///{new}", threads, media)
            new.rename(made)
        copies = []
        for number in range(2):
            path = folder / f"copy-{number}.sqlite3"
            shutil.copyfile(made, path)
            copies.append((f"sqlite:///{path}", _copied(media, folder, number)))
        yield copies
        return
    with databases("postgresql", folder, 1) as [url]:
        _generate(url, threads, folder / "media")
        name = url.rpartition("/")[2]
        server = PostgresDatabase(url, "postgres")
        import psycopg

        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE copy TEMPLATE {name}".encode())
        other = url.rpartition("/")[0] + "/copy"
        media = folder / "media"
        yield [(each, _copied(media, folder, place)) for place, each in enumerate((url, other))]


def _generate(url: str, threads: int, media: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.conversations", url, str(threads), str(media)]
    subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 (The program is ours.)


def _copied(media: Path, folder: Path, number: int) -> Path:
    return Path(shutil.copytree(media, folder / f"media-{number}"))


def _database(url: str) -> Database:
    if url.startswith("sqlite:///"):
        return Database(Path(url.removeprefix("sqlite:///")))
    return PostgresDatabase(url, url.rpartition("/")[2])


# -- the figures -----------------------------------------------------------------------------------


def measure(vendor: str, threads: int, folder: Path) -> list[str]:
    """The lines that tell of one kind of database."""
    with two_copies(vendor, threads, folder) as [(alone, media), (beside, other_media)]:
        before = rows(_database(alone))
        nothing = Purge(alone, media, *NOTHING).end()
        purged = Purge(alone, media, *OLD).end()
        gone = before - rows(_database(alone))
        rate, growth = gone / purged.seconds, purged.peak_mb - nothing.peak_mb
        figures = [
            f"{vendor}, {threads:,} threads",
            f"{gone:,}",
            f"{purged.seconds:.1f}",
            _marked(f"{rate:,.0f}", rate >= ROWS_PER_SECOND),
            f"{gone / purged.cpu_seconds:,.0f}",
            _marked(f"{growth:.0f}", growth <= GROWTH_MB),
        ]
        heads = ["purge alone", "rows", "s", "rows/s", "rows/s of processor time", "RSS growth, MB"]
        return [*table(heads, [figures]), "", *_beside_a_chat(vendor, beside, other_media, folder)]


def _beside_a_chat(vendor: str, url: str, media: Path, folder: Path) -> list[str]:
    idle, busy = Chats(ttfts=[], turns=[]), Chats(ttfts=[], turns=[])
    gone = seconds = 0.0
    with our_server("agent", database=url, folder=folder, clients=1, processes=1) as server:
        chat(server, Chats(ttfts=[], turns=[]), lambda seconds: seconds < WARM_UP_SECONDS)
        for _ in range(ROUNDS):
            chat(server, idle, lambda seconds: seconds < IDLE_SECONDS)
            before = rows(_database(url))
            purge = Purge(url, media, *OLD)
            chat(server, busy, functools.partial(_goes_on, purge))
            if not purge.is_over():
                purge.interrupt()
            seconds += purge.end().seconds
            # The chats' own rows came meanwhile: they are few, and make it no faster.
            gone += before - rows(_database(url))
    lines = []
    for name, some, others in (
        ("first text", idle.ttfts, busy.ttfts),
        ("whole answer", idle.turns, busy.turns),
    ):
        slower = p95(others) / p95(some)
        figures = (median(some), p95(some), median(others), p95(others))
        lines.append(
            [
                f"{vendor}, {name}",
                *(f"{figure:.0f}" for figure in figures),
                _marked(f"{slower:.2f}", slower <= SLOWER),
                f"{len(some)} and {len(others)}",
                f"{gone / seconds:,.0f}",
            ]
        )
    heads = ["a chat, ms", "p50 idle", "p95 idle", "p50 purging", "p95 purging"]
    return table([*heads, "p95, times", "chats", "rows/s purged"], lines)


def _goes_on(purge: Purge, seconds: float) -> bool:
    return not purge.is_over() and seconds < PURGE_SECONDS


def _marked(figure: str, is_good: bool) -> str:
    return figure if is_good else f"{figure} (!)"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.purging", description=__doc__)
    parser.add_argument("--threads", type=int, default=100_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    options = parser.parse_args(arguments)
    for vendor in options.database or ("sqlite", "postgresql"):
        # Where there is room: it takes 37 KB for each thread, twice.
        with tempfile.TemporaryDirectory(dir=FOLDER.parent) as folder:
            lines = measure(vendor, options.threads, Path(folder))
        load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
        sys.stdout.write("\n".join([*lines, "", f"Load of the machine: {load}.", ""]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

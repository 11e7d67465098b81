"""How fast turns are stored until they can be queried: ``python -m benchmarks.storing``.

A turn has six spans and three messages: a prompt, a thought, an answer. First through the
recorder's own calls in one process, against the same rows through Django's ORM in one transaction;
then over HTTP on one process, everything on, against the SDK by itself, which stores nothing. Each
run ends with a look into the database: all turns are there, complete, when the answers have ended.

Memory is that of the serving process, against Django with a ChatKit endpoint and without us.

SQLite is in WAL mode with synchronous=NORMAL, as the settings have it; PostgreSQL has its own
defaults and so waits for the disk at each commit.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from .servers import (
    ROOT,
    Server,
    bare_django_server,
    bare_server,
    databases,
    measure,
    our_server,
)
from .tables import table

VENDORS = ("sqlite", "postgres")
RESPONDS = {"short": "benchmarks.answers.Short", "agent": "benchmarks.answers.Scripted"}
CLIENTS = (8, 16)
RUNS = 5
TURNS = 400
WORDS = 8
WARM_UP_TURNS = 40
SPANS = 6
MEGABYTE = 1_000_000
HEADS = (
    "database",
    "how",
    "clients",
    "ratio",
    "turns/s (recorder ≥ 1,000; HTTP ≥ 200)",
    "base",
)
MEMORY_HEADS = ("database", "respond", "MB more (≤ 30)", "MB, ours", "MB, Django without us")

Pairs = list[tuple[float, float]]
"""Turns per second, ours and the base's."""


def record(database: str, *, runs: int, turns: int) -> Pairs:
    """Through the recorder's own calls, against the ORM."""
    command = [sys.executable, "-m", "benchmarks.recording", database, str(runs), str(turns)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT, text=True)  # noqa: S603
    return [(ours, plain) for ours, plain in json.loads(done.stdout)]


def serve(
    database: str, *, respond: str, clients: Sequence[int], runs: int, turns: int, folder: Path
) -> tuple[dict[int, Pairs], int]:
    """Over HTTP, by the number of clients; and what ours then holds in memory after one run."""
    most = max(clients)
    with (
        bare_server(respond, folder=folder, clients=most, processes=1) as bare,
        our_server(respond, database=database, folder=folder, clients=most, processes=1) as ours,
    ):
        resident_bytes = _resident_bytes(ours, most, turns)
        _resident_bytes(bare, most, turns)
        asked = WARM_UP_TURNS + turns
        found: dict[int, Pairs] = {}
        for number in clients:
            found[number] = []
            for run in range(runs):
                other = _turns_per_second(bare, number, turns)
                asked += turns
                mine = _turns_per_second(
                    ours, number, turns, partial(check_stored, database, asked)
                )
                found[number].append((mine, other))
                sys.stderr.write(f"{respond}, {number} clients: {run + 1} of {runs}\n")
    return found, resident_bytes


def serve_without_us(database: str, *, respond: str, clients: int, turns: int, folder: Path) -> int:
    """What Django by itself holds in memory after one run."""
    with bare_django_server(
        RESPONDS[respond], database=database, folder=folder, clients=clients
    ) as server:
        return _resident_bytes(server, clients, turns)


def _resident_bytes(server: Server, clients: int, turns: int) -> int:
    measure(server, clients=clients, turns=WARM_UP_TURNS, words=WORDS)
    measure(server, clients=clients, turns=turns, words=WORDS)
    return server.resident_bytes()


def _turns_per_second(
    server: Server, clients: int, turns: int, when_answered: Callable[[], None] = lambda: None
) -> float:
    load = {"clients": clients, "turns": turns, "words": WORDS}
    seen = measure(server, **load, when_answered=when_answered).seen
    return seen.turns / seen.seconds


def check_stored(database: str, turns: int) -> None:
    """Raises AssertionError unless so many turns are there, complete, with messages and spans."""
    checks = {
        "SELECT count(*) FROM observability_turn WHERE status = 'completed'": turns,
        "SELECT count(*) FROM observability_message": turns * 3,
        "SELECT count(*) FROM observability_turnspans": turns,
    }
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(database.removeprefix("sqlite:///"), timeout=20)) as lite:
            found = {sql: lite.execute(sql).fetchone()[0] for sql in checks}
            kept = lite.execute("SELECT spans FROM observability_turnspans LIMIT 1").fetchone()[0]
    else:
        with psycopg.connect(database) as connection:
            found = {sql: _value(connection, sql) for sql in checks}
            kept = _value(connection, "SELECT spans::text FROM observability_turnspans LIMIT 1")
    if found != checks:
        raise AssertionError(f"{found} instead of {checks}")
    if len(json.loads(kept)) < SPANS:
        raise AssertionError(f"Not {SPANS} spans: {kept}")


def _value(connection: psycopg.Connection[Any], sql: str) -> Any:
    row = connection.execute(sql.encode()).fetchone()
    assert row is not None  # noqa: S101 (They count.)
    return row[0]


def row(vendor: str, how: str, clients: str, pairs: Pairs) -> list[str]:
    """The line of a table: medians, of ratios those of each pair's."""
    return [
        vendor,
        how,
        clients,
        f"{median(ours / base for ours, base in pairs):.2f}",
        *(f"{median(pair[side] for pair in pairs):.0f}" for side in (0, 1)),
    ]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.storing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--database", choices=VENDORS, nargs="+", default=VENDORS)
    parser.add_argument("--respond", choices=RESPONDS, nargs="+", default=list(RESPONDS))
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--runs", type=int, default=RUNS, help="on each side; medians are told")
    parser.add_argument("--turns", type=int, default=TURNS, help="of one run, all clients together")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    rows: list[list[str]] = []
    memory: list[list[str]] = []
    figures: dict[str, Any] = {}
    for vendor in options.database:
        kept = figures[vendor] = {}
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chat-bench-")))
            count = 1 + 2 * len(options.respond)
            urls = stack.enter_context(databases(vendor, folder, count))
            kept["recorder"] = record(urls.pop(), runs=options.runs, turns=options.turns)
            rows.append(row(vendor, "recorder", "", kept["recorder"]))
            for respond in options.respond:
                load: dict[str, Any] = {"respond": respond, "turns": options.turns}
                load["folder"] = folder
                found, ours = serve(urls.pop(), clients=options.clients, runs=options.runs, **load)
                base = serve_without_us(urls.pop(), clients=max(options.clients), **load)
                rows += [
                    row(vendor, f"HTTP, {respond}", str(number), pairs)
                    for number, pairs in found.items()
                ]
                held = [(ours - base) / MEGABYTE, ours / MEGABYTE, base / MEGABYTE]
                memory.append([vendor, respond, *(f"{each:.0f}" for each in held)])
                kept[respond] = {"http": found, "bytes": {"ours": ours, "base": base}}
    lines = [*table(HEADS, rows, words=2), "", *table(MEMORY_HEADS, memory, words=2)]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

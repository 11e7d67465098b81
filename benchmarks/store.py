"""What the store adds to its own SQL: ``python -m benchmarks.store``.

Each method of ``DjangoStore`` is awaited on an event loop, one call after the other, as the server
does it: with the thread that it runs on, the ORM, and the JSON read and written by the SDK's types.
Against it the very statements that those calls ran, with the very parameters, in the same
transactions, through the bare driver (sqlite3, psycopg) on one connection, in a plain loop, with
the rows fetched and thrown away.

That for threads of 1, 100 and 10,000 items, whose owners have as many threads and as many
attachments: calls per second should be flat. A page of items is of 50 and one of threads of 20, so
the last column compares sizes that fill one.

The calls are recorded once and don't count then. What they add has keys of its own and is deleted
after each run, outside the clock, so that both sides can add it again; what they delete is added
before. Within a run a thread grows by as many items as there are calls.

The bare connection is configured as Django's: SQLite in WAL mode with synchronous=NORMAL, foreign
keys on, transactions that begin IMMEDIATE; PostgreSQL with its own defaults, statements neither
prepared nor bound on the server. ``delete_thread`` and ``delete_attachment`` are left out: they
purge, see ``benchmarks.purging``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from .servers import ROOT, databases
from .site import set_up
from .store_replay import Operation, Statement, awaited, bare_connection, recorded, replayed
from .tables import table

if TYPE_CHECKING:
    from .store_calls import Call

VENDORS = ("sqlite", "postgres")
SIZES = (1, 100, 10_000)
RUNS = 5
CALLS = 50
WARM_UP = -1
FULL_PAGE = 50

Pairs = list[tuple[float, float]]
"""Calls per second, ours and the bare driver's."""


class Measured:
    """One call on conversations of one size."""

    def __init__(self, call: Call, size: int, calls: int) -> None:
        from .store_calls import new_key

        self.call, self.size = call, size
        self.pairs: Pairs = []
        self.statements: list[list[Statement]] = []
        """Of each call."""
        self._keys = [new_key() for _ in range(calls)]
        self._left = 0

    def record(self) -> None:
        """Make the calls once, and keep what they run."""
        from .store_calls import delete_rows_with, rows_with

        self.call.before(self._keys)
        self.statements = recorded(self._operations())
        self._left = rows_with(self._keys)
        delete_rows_with(self._keys)

    def run(self, bare: Any) -> None:
        """Make the calls on either side. Raises AssertionError where they did not do the same."""
        ours = self._calls_per_second(lambda: awaited(self._operations()))
        plain = self._calls_per_second(lambda: replayed(bare, self.statements))
        self.pairs.append((ours, plain))

    def figures(self) -> dict[str, Any]:
        return {
            "method": self.call.name,
            "size": self.size,
            "statements": median(map(len, self.statements)),
            "pairs": self.pairs,
        }

    def _operations(self) -> list[Operation]:
        return [self.call.make(key) for key in self._keys]

    def _calls_per_second(self, timed: Callable[[], float]) -> float:
        from .store_calls import delete_rows_with, rows_with

        self.call.before(self._keys)
        seconds = timed()
        if (left := rows_with(self._keys)) != self._left:
            raise AssertionError(f"{self.call.name} left {left} rows instead of {self._left}")
        delete_rows_with(self._keys)
        return len(self._keys) / seconds


def one_database(
    database: str, *, sizes: Sequence[int], runs: int, calls: int
) -> list[dict[str, Any]]:
    """Everything about one database, which is empty yet."""
    set_up(database)
    from django.core.management import call_command
    from django.db import connection

    from .store_calls import Conversations

    call_command("migrate", verbosity=0)
    measured = [
        Measured(call, size, calls) for size in sizes for call in Conversations(size).calls()
    ]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # As its autovacuum would after a while.
            cursor.execute("ANALYZE")
    for each in measured:
        each.record()
    with closing(bare_connection(database)) as bare:
        for run in range(WARM_UP, runs):
            for each in measured:
                each.run(bare)
                if run == WARM_UP:
                    each.pairs.clear()
            sys.stderr.write(f"{connection.vendor}: {run + 1} of {runs}\n")
    return [each.figures() for each in measured]


def rows(vendor: str, found: Sequence[dict[str, Any]], sizes: Sequence[int]) -> list[list[str]]:
    """Lines of the table: medians, of ratios those of each pair's."""
    lines = []
    for method in dict.fromkeys(each["method"] for each in found):
        by_size = {each["size"]: each for each in found if each["method"] == method}
        pairs: list[Pairs] = [by_size[size]["pairs"] for size in sizes]
        rates = {
            size: median(ours for ours, _ in each) for size, each in zip(sizes, pairs, strict=True)
        }
        lines.append(
            [
                vendor,
                method,
                f"{by_size[sizes[-1]]['statements']:.0f}",
                *(f"{median(ours / bare for ours, bare in each):.3f}" for each in pairs),
                *(f"{rate:,.0f}" for rate in rates.values()),
                *(f"{median(bare for _, bare in each):,.0f}" for each in pairs),
                f"{rates[sizes[-1]] / rates[_full_page(sizes)]:.2f}",
            ]
        )
    return lines


def heads(sizes: Sequence[int]) -> list[str]:
    shown = [f"{size:,}" for size in sizes]
    return [
        "database",
        "method",
        "statements",
        *(f"ratio, {size}" for size in shown),
        *(f"calls/s, {size}" for size in shown),
        *(f"bare, {size}" for size in shown),
        f"{shown[-1]} ÷ {_full_page(sizes):,} (flat: 1)",
    ]


def _full_page(sizes: Sequence[int]) -> int:
    return next((size for size in sizes if size > FULL_PAGE), sizes[0])


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.store",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--database", choices=VENDORS, nargs="+", default=VENDORS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="items in a thread")
    parser.add_argument("--runs", type=int, default=RUNS, help="on each side; medians are told")
    parser.add_argument("--calls", type=int, default=CALLS, help="of each method in one run")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--one", metavar="DATABASE_URL", help="only this database, as JSON")
    options = parser.parse_args(arguments)
    sizes = sorted(options.sizes)
    counts = {"sizes": sizes, "runs": options.runs, "calls": options.calls}
    if options.one:
        sys.stdout.write(json.dumps(one_database(options.one, **counts)))
        return
    figures: dict[str, Any] = {}
    # One Django knows one database: each has a process of its own.
    passed_on = ["--sizes", *sizes, "--runs", options.runs, "--calls", options.calls]
    for vendor in options.database:
        with (
            tempfile.TemporaryDirectory(prefix="chat-bench-") as folder,
            databases(vendor, Path(folder), 1) as [url],
        ):
            done = subprocess.run(  # noqa: S603 (The program is ours.)
                [sys.executable, "-m", "benchmarks.store", "--one", url, *map(str, passed_on)],
                check=True,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                text=True,
            )
        figures[vendor] = json.loads(done.stdout)
    lines = [line for vendor in options.database for line in rows(vendor, figures[vendor], sizes)]
    sys.stdout.write("\n".join(table(heads(sizes), lines, words=2)) + "\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""What recording costs: ``python -m benchmarks.recorder``.

For each event, against what the SDK itself spends on one: the difference of an answer of 2,000
deltas and one of 200, over the difference of their events, so that no cost of a turn is in it.
The recorder alone; all that an instrumented server adds to the thread that streams; and all that
it adds to the process, until the whole text stands in the database.

For each turn of six spans and three messages, against the same rows through Django's ORM. With
what PostgreSQL's own processes spend.

And how many transactions a turn over the endpoint takes beyond those of the SDK's store calls:
the recorder's, and with them those of limits and seats. The worker's come later and gather turns.

Costs are processor time, which is much the same on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from .servers import ROOT, databases, sink
from .tables import table

VENDORS = ("sqlite", "postgres")
RUNS = 5
TURNS = 400
REPEATS = 20
EVENT_HEADS = (
    *("database", "answer", "recorder alone (≤ 3 %)", "instrumented (≤ 3 %)", "to the end, stored"),
    *("µs, SDK", "recorder alone", "instrumented", "to the end, stored"),
)
TURN_HEADS = (
    *("database", "ratio to the ORM", "ms of one core (≤ 3)", "of these the database server's"),
    "ms, ORM",
)
TRANSACTION_HEADS = (
    *("database", "beyond the store's (≤ 3)", "of these the recorder's", "the store's"),
    "the worker's",
)


def part(*arguments: str, environment: Mapping[str, str] | None = None) -> Any:
    """The figures of a process of its own. Raises subprocess.CalledProcessError."""
    done = subprocess.run(  # noqa: S603 (The program is ours.)
        [sys.executable, "-m", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | (environment or {}),
        text=True,
    )
    return json.loads(done.stdout)


def count_transactions(database: str, turns: int) -> Any:
    """With forwarding on, to a sink."""
    with sink() as port:
        environment = {
            "ANOSYS_API_KEY": "a-key",
            "ANOSYS_INGESTION_URL": f"http://127.0.0.1:{port}/",
        }
        arguments = ("benchmarks.recorder_transactions", database, str(turns))
        return part(*arguments, environment=environment)


def event_row(vendor: str, answer: str, runs: Sequence[Mapping[str, float]]) -> list[str]:
    """Medians, of shares those of each run's."""
    recorded = ("observe", "wrapped", "whole")
    shares = (median(run[what] / run["sdk"] for run in runs) for what in recorded)
    costs = (median(run[what] for run in runs) for what in ("sdk", *recorded))
    return [
        *(vendor, answer),
        *(f"{share:.1%}".replace("%", " %") for share in shares),
        *(f"{cost:.2f}" for cost in costs),
    ]


def turn_row(vendor: str, runs: Sequence[Mapping[str, float]]) -> list[str]:
    """Likewise."""
    ours = [run["ours"] + run["database"] for run in runs]
    plain = [run["plain"] + run["plain_database"] for run in runs]
    return [
        vendor,
        f"{median(each / other for each, other in zip(ours, plain, strict=True)):.2f}",
        f"{median(ours):.2f}",
        f"{median(run['database'] for run in runs):.2f}",
        f"{median(plain):.2f}",
    ]


def transaction_row(vendor: str, counts: Mapping[str, float]) -> list[str]:
    owners = ("beyond", "recorder", "store", "worker")
    return [vendor, *(f"{counts[owner]:g}" for owner in owners)]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recorder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--database", choices=VENDORS, nargs="+", default=VENDORS)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each; medians are told")
    parser.add_argument("--turns", type=int, default=TURNS, help="recorded in one run")
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, help="of each answer in one run; turns counted"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    runs, repeats = str(options.runs), str(options.repeats)
    figures: dict[str, Any] = {}
    for vendor in options.database:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chat-bench-")))
            urls = stack.enter_context(databases(vendor, folder, 3))
            costs = "benchmarks.recorder_costs"
            figures[vendor] = {
                "events": part(costs, "events", urls[0], runs, repeats),
                "turns": part(costs, "turns", urls[1], runs, str(options.turns)),
                "transactions": count_transactions(urls[2], options.repeats),
            }
    lines = [*_event_table(figures), "", *_turn_table(figures), "", *_transaction_tables(figures)]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _event_table(figures: Mapping[str, Any]) -> list[str]:
    rows = [
        event_row(vendor, answer, [run[answer] for run in kept["events"]])
        for vendor, kept in figures.items()
        for answer in kept["events"][0]
    ]
    return table(EVENT_HEADS, rows, words=2)


def _turn_table(figures: Mapping[str, Any]) -> list[str]:
    return table(TURN_HEADS, [turn_row(each, kept["turns"]) for each, kept in figures.items()])


def _transaction_tables(figures: Mapping[str, Any]) -> list[str]:
    counts = {vendor: kept["transactions"] for vendor, kept in figures.items()}
    rows = [transaction_row(vendor, each) for vendor, each in counts.items()]
    writes = [
        [vendor, what, f"{number:g}"]
        for vendor, each in counts.items()
        for what, number in each["writes"].items()
    ]
    heads = ("database", "what a transaction writes", "for each turn")
    return [*table(TRANSACTION_HEADS, rows), "", *table(heads, writes, words=2)]


if __name__ == "__main__":
    main(sys.argv[1:])

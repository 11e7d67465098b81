"""How fast a backlog leaves, against a bare httpx loop: ``python -m benchmarks.draining``.

Both post the same events to the same sink, eight at a time. What the loop spares is all that we are
for: claiming, reading, redacting, putting into words, settling.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from .servers import databases, sink
from .site import set_up
from .tables import table

ROOT = Path(__file__).resolve().parent.parent
DELIVERIES = 1_000
RUNS = 5
PROCESSES = 4


def prepare(turns: int) -> None:
    """A history of so many turns."""
    from django.core.management import call_command
    from django.utils import timezone

    from .generate import generate

    call_command("migrate", verbosity=0)
    generate(turns, until=timezone.now())


def refill() -> int:
    """Make a delivery of every turn that has ended, as if none had been sent. Returns how many."""
    from observability.models import Delivery, Turn
    from observability.outbox import ANOSYS

    Delivery.objects.all().delete()
    made = Delivery.objects.bulk_create(
        Delivery(destination=ANOSYS, event_id=turn.trace_id, kind="turn", turn=turn)
        for turn in Turn.objects.exclude(status="running").only("trace_id").order_by("pk")
    )
    return len(made)


def drain() -> float:
    """Send all that is due, from this process. Returns the seconds that it took."""
    from observability.courier import Courier

    courier = Courier()
    started = time.perf_counter()
    while courier.deliver():
        pass
    took = time.perf_counter() - started
    courier.close()
    return took


def bodies() -> list[bytes]:
    """What all turns come to on their way out."""
    from observability.anosys import Anosys
    from observability.destinations import told
    from observability.models import Delivery

    destination = Anosys()
    deliveries = list(Delivery.objects.order_by("pk"))
    events = destination.events(told(deliveries))
    found = [destination.post_of(event).content for event in events if isinstance(event, dict)]
    destination.close()
    return found


def post(url: str, contents: Sequence[bytes]) -> float:
    """The bare loop. Returns the seconds that it took."""
    import httpx

    from observability.courier import AT_ONCE

    async def run() -> None:
        left = iter(contents)
        async with httpx.AsyncClient() as client:

            async def one_after_another() -> None:
                for content in left:
                    answer = await client.post(url, content=content)
                    answer.raise_for_status()

            await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))

    started = time.perf_counter()
    asyncio.run(run())
    return time.perf_counter() - started


def one_database(database: str, turns: int, runs: int, sink_port: int) -> dict[str, Any]:
    """Deliveries per second of both, for each run, and what a body comes to, in bytes."""
    url = os.environ["ANOSYS_INGESTION_URL"] = f"http://127.0.0.1:{sink_port}/"
    set_up(database)
    prepare(turns)
    count = refill()
    contents = bodies()
    found: dict[str, list[float]] = {"bare": [], "ours": [], "processes": []}
    for _ in range(runs):
        found["bare"].append(len(contents) / post(url, contents))
        refill()
        found["ours"].append(count / drain())
        if not database.startswith("sqlite"):
            refill()
            found["processes"].append(count / _with_processes(database, url))
    return {**found, "body_bytes": round(sum(map(len, contents)) / len(contents))}


def _with_processes(database: str, url: str) -> float:
    """Seconds from when all of PROCESSES are ready until the last of them is done."""
    from django.db import connections

    connections.close_all()
    command = [sys.executable, "-m", "benchmarks.draining", "--drain", database]
    environment = os.environ | {"ANOSYS_INGESTION_URL": url}
    children = [
        subprocess.Popen(  # noqa: S603 (The program is ours.)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment
        )
        for _ in range(PROCESSES)
    ]
    for child in children:
        assert child.stdout is not None  # noqa: S101 (It is piped.)
        child.stdout.readline()
    started = time.perf_counter()
    for child in children:
        child.communicate(b"\n")
    return time.perf_counter() - started


def _child(database: str) -> None:
    set_up(database)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    drain()


def rows(vendor: str, found: dict[str, Any]) -> list[list[str]]:
    """Lines of the table."""
    bare = median(found["bare"])
    shown = []
    for name, rates, against in (
        ("one process", found["ours"], bare),
        (f"{PROCESSES} processes, against one", found["processes"], median(found["ours"])),
    ):
        if rates:
            cells = (f"{median(rates) / against:.2f}", f"{median(rates):.0f}", f"{bare:.0f}")
            shown.append([vendor, name, *cells, f"{found['body_bytes']:,}"])
    return shown


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.draining", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--deliveries", type=int, default=DELIVERIES)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--drain", metavar="DATABASE_URL", help="only send what is due there")
    parser.add_argument("--one", nargs=2, metavar=("DATABASE_URL", "SINK_PORT"))
    options = parser.parse_args(arguments)
    if options.drain:
        _child(options.drain)
        return
    if options.one:
        database, port = options.one
        found = one_database(database, options.deliveries, options.runs, int(port))
        sys.stdout.write(json.dumps(found))
        return
    vendors = ("sqlite", "postgres") if options.database == "both" else (options.database,)
    figures = {}
    for vendor in vendors:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            [url] = stack.enter_context(databases(vendor, folder, 1))
            port = stack.enter_context(sink())
            counts = ["--deliveries", str(options.deliveries), "--runs", str(options.runs)]
            done = subprocess.run(  # noqa: S603 (The program is ours.)
                [sys.executable, "-m", "benchmarks.draining", "--one", url, str(port), *counts],
                check=True,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                text=True,
            )
            figures[vendor] = json.loads(done.stdout)
    heads = ("database", "", "ratio", "deliveries/s", "bare httpx/s", "bytes each")
    lines = table(heads, [row for vendor in vendors for row in rows(vendor, figures[vendor])])
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

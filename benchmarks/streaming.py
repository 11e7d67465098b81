"""What ours costs over the SDK by itself, streaming: ``python -m benchmarks.streaming``.

The same answers, of 200 deltas each, under the same uvicorn: the SDK with a store in memory on
Starlette, and this site as in production, with everything on. Turns follow each other without a
pause, each in a new thread; both servers run all the time and take turns under load.

SQLite is in WAL mode with synchronous=NORMAL, as the settings have it; PostgreSQL has its own
defaults and so waits for the disk at each commit.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from .servers import Measured, Server, bare_server, databases, measure, our_server
from .tables import table

CLIENTS = (1, 8, 64)
PROCESSES = (1, 2)
RESPONDS = ("deltas", "agent")
DATABASES = ("sqlite", "postgres")
RUNS = 5
TURNS = 200
WORDS = 200
WARM_UP_TURNS = 16


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One combination: its runs, in pairs."""

    database: str
    processes: int
    own_core: bool
    respond: str
    clients: int
    bare: list[Measured]
    ours: list[Measured]

    @property
    def row(self) -> list[str]:
        """The medians, of ratios and differences those of each pair's."""
        pairs = list(zip(self.bare, self.ours, strict=True))
        per_second = median(_turns_per_second(o) / _turns_per_second(b) for b, o in pairs)
        per_event = median(_cpu_per_event(o) / _cpu_per_event(b) for b, o in pairs)
        first_token = median(o.seen.ttft - b.seen.ttft for b, o in pairs)
        gaps = median(o.seen.gap_p99 / b.seen.gap_p99 for b, o in pairs)
        return [
            self.database,
            self.respond,
            str(self.processes),
            str(self.clients),
            f"{per_second:.2f}",
            f"{per_event:.2f}",
            f"{first_token:+.1f}",
            f"{gaps:.2f}",
            self._both(_turns_per_second),
            self._both(lambda each: each.cpu_seconds / each.seen.turns * 1000),
            self._both(lambda each: each.seen.ttft),
            self._both(lambda each: each.seen.gap_p50, digits=2),
            self._both(lambda each: each.seen.gap_p99),
            f"{median(each.drain_seconds for each in self.ours):.1f}",
        ]

    def _both(self, figure: Callable[[Measured], float], digits: int = 1) -> str:
        ours, bare = (median(map(figure, side)) for side in (self.ours, self.bare))
        return f"{ours:.{digits}f} / {bare:.{digits}f}"


HEADS = (
    "database",
    "respond",
    "processes",
    "clients",
    "turns/s, ratio (≥ 0.85)",
    "CPU per event, ratio (≤ 1.10)",
    "first token, ms more (≤ 5 at 1 client)",
    "p99 gap, ratio (≤ 1.3 at 64 clients)",
    "turns/s",
    "CPU ms per turn",
    "first token ms",
    "p50 gap ms",
    "p99 gap ms",
    "then forwarding, s",
)


def _turns_per_second(measured: Measured) -> float:
    return measured.seen.turns / measured.seen.seconds


def _cpu_per_event(measured: Measured) -> float:
    return measured.cpu_seconds / measured.seen.events


def compare(
    database: str,
    *,
    vendor: str,
    respond: str,
    processes: int,
    clients: Sequence[int],
    runs: int,
    turns: int,
    own_core: bool,
    folder: Path,
) -> Iterator[Compared]:
    """Both servers, under the load of each number of clients in turn."""
    most = max(clients)
    with (
        bare_server(
            respond, folder=folder, clients=most, processes=processes, own_core=own_core
        ) as bare,
        our_server(
            respond,
            database=database,
            folder=folder,
            clients=most,
            processes=processes,
            own_core=own_core,
        ) as ours,
    ):
        for server in (bare, ours):
            measure(server, clients=8, turns=WARM_UP_TURNS * processes, words=WORDS)
        for number in clients:
            found: dict[int, list[Measured]] = {bare.port: [], ours.port: []}
            for run in range(runs):
                order: list[Server] = [bare, ours] if run % 2 else [ours, bare]
                for server in order:
                    measured = measure(server, clients=number, turns=turns, words=WORDS)
                    found[server.port].append(measured)
                tell = f"{vendor}, {respond}, {processes} processes, {number} clients"
                sys.stderr.write(f"{tell}: {run + 1} of {runs}\n")
            yield Compared(
                database=vendor,
                processes=processes,
                own_core=own_core,
                respond=respond,
                clients=number,
                bare=found[bare.port],
                ours=found[ours.port],
            )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.streaming",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--database", choices=DATABASES, nargs="+", default=DATABASES)
    parser.add_argument("--respond", choices=RESPONDS, nargs="+", default=RESPONDS)
    parser.add_argument("--processes", type=int, nargs="+", default=PROCESSES)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--runs", type=int, default=RUNS, help="on each side; medians are told")
    parser.add_argument("--turns", type=int, default=TURNS, help="of one run, all clients together")
    parser.add_argument(
        "--own-core", action="store_true", help="have each process, of either side, keep to a core"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    combinations = [(n, respond) for n in options.processes for respond in options.respond]
    found: list[Compared] = []
    sys.stdout.write("\n".join(table(HEADS, [], words=2)) + "\n")
    for vendor in options.database:
        with (
            tempfile.TemporaryDirectory(prefix="chat-bench-") as name,
            databases(vendor, Path(name), len(combinations)) as urls,
        ):
            for url, (processes, respond) in zip(urls, combinations, strict=True):
                for compared in compare(
                    url,
                    vendor=vendor,
                    respond=respond,
                    processes=processes,
                    clients=options.clients,
                    runs=options.runs,
                    turns=options.turns,
                    own_core=options.own_core,
                    folder=Path(name),
                ):
                    found.append(compared)
                    sys.stdout.write(f"| {' | '.join(compared.row)} |\n")
                    sys.stdout.flush()
    if options.json:
        figures = [asdict(compared) for compared in found]
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

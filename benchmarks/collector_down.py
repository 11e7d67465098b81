"""What a collector that is down costs those who chat: ``python -m benchmarks.collector_down``.

One process of the site as its tests start it, with Anosys played on loopback. Rounds of questions
while it answers, refuses and hangs take turns, so that a machine's own moods fall on all alike.
Promised is a 95th percentile of the time to the first token within 10 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles

from tests.chatkit_client import ChatClient
from tests.servers import Server, django_server
from tests.standins.anosys import AnosysStandin, Answer, anosys_standin

WELL = "answers"
STATES = {WELL: Answer(), "refuses": Answer(status=503), "hangs": Answer(delay=60.0)}
LIMIT = 1.10


def ttft_ms(client: ChatClient) -> float:
    """From a question to the first word of its answer."""
    began = time.perf_counter()
    with client.ask("Hello") as stream:
        stream.until_text()
        first = time.perf_counter()
        stream.read()
    return (first - began) * 1000


def measure(
    server: Server, anosys: AnosysStandin, *, rounds: int, turns: int, clients: int
) -> dict[str, list[float]]:
    """Times by the collector's state. A round is so many turns in each."""
    found: dict[str, list[float]] = defaultdict(list)
    with ChatClient(server.url).sign_in("alice") as client, ThreadPoolExecutor(clients) as pool:
        for _ in range(rounds):
            for state, answer in STATES.items():
                anosys.answer_always(answer)
                ttft_ms(client)  # The first to meet a new state finds the worker at rest.
                found[state] += pool.map(ttft_ms, [client] * turns)
    return found


def table(found: dict[str, list[float]]) -> str:
    """Markdown, with each state's ratio to a collector that is well."""
    lines = ["| collector | turns | p50 ms | p95 ms | p95 ratio | |", "|---|--:|--:|--:|--:|---|"]
    for state, times in found.items():
        ratio = _p95(times) / _p95(found[WELL])
        verdict = "" if ratio <= LIMIT else "too slow"
        lines.append(
            f"| {state} | {len(times)} | {median(times):.1f} | {_p95(times):.1f} |"
            f" {ratio:.2f} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20)[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--turns", type=int, default=40, help="of a round, in each state")
    parser.add_argument("--clients", type=int, default=4, help="that chat at once")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        anosys_standin() as anosys,
        django_server(
            Path(folder),
            ANOSYS_API_KEY=anosys.api_key,
            ANOSYS_RESOLVER_URL=anosys.resolver_url,
            CHATKIT_MAX_STREAMS="100",
            CHATKIT_RATE_LIMIT="",
            CHATKIT_ADDRESS_RATE_LIMIT="",
        ) as server,
    ):
        sys.stdout.write(table(measure(server, anosys, **vars(options))))


if __name__ == "__main__":
    main()

"""How long pages take at 10,000 turns and at a million: ``python -m benchmarks.reading``.

Server time: Django's test client in this process, so there is no network. The databases are made
once and kept under ``var/bench``.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from .databases import kept_cluster, postgres_url, sqlite_url
from .generate import generate, roll_up
from .history import COMMON_WORD, RARE_WORD
from .site import set_up

SIZES = (10_000, 1_000_000)
TIMES = 9
TURNS_IN_THREAD = 8
WINDOW = 5_000
LIMIT_MS = 100
GROWTH_LIMIT = 2
LIST = "/admin/observability/turn/"
API = "/observability/api/turns/"
DASHBOARD = "/admin/observability/dashboard/"
FIRST_LOOK = "first look"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one page took, in ms, and what it took it for."""

    name: str
    median_ms: float
    p95_ms: float
    queries: int
    rows: int | None
    """How many a list showed: of what is rare there are fewer in a small database."""


def pages() -> dict[str, tuple[str, dict[str, Any]]]:
    """Names, addresses and parameters of what is measured, on the database at hand."""
    from observability.models import Turn

    turns = Turn.objects.order_by("-pk")
    turn = one_of_a_thread(turns[0].pk * 2 // 3)
    newest = turn_time(turns[0])
    error_at = turn_time(turns.with_errors()[0])
    regular = turn.user_id
    lists: dict[str, dict[str, Any]] = {
        "all": {},
        "page 20": {"p": min(20, Turn.objects.count() // 50)},
        "status failed": {"status__exact": "failed"},
        "status interrupted (rare)": {"status__exact": "interrupted"},
        "status completed": {"status__exact": "completed"},
        "has an error": {"has_error": "yes"},
        "has no error": {"has_error": "no"},
        "slower than 1 s": {"slower_than_ms": 1_000},
        "slower than 30 s": {"slower_than_ms": 30_000},
        "slower than 120 s (rare)": {"slower_than_ms": 120_000},
        "model, common": {"model": "gpt-5-mini"},
        "model, rare": {"model": "o9-experiment"},
        "locale, common": {"locale": "en"},
        "locale, rare": {"locale": "cy"},
        "operation, rare": {"operation": "threads.add_client_tool_output"},
        "feedback none": {"feedback__exact": ""},
        "feedback negative": {"feedback__exact": "negative"},
        "user": {"user": regular},
        "owner": {"owner_key": turn.owner_key},
        "thread": {"thread_id": turn.thread_id},
        "session": {"session_id": turn.session_id},
        "request": {"request_id": turn.request_id},
        "a time of 400 turns": {
            "started_at__gte": turn_time(turns.get(pk=turn.pk - min(400, turn.pk - 1))).isoformat(),
            "started_at__lt": turn_time(turn).isoformat(),
        },
        "last 30 days": {"started_at__gte": (newest - timedelta(days=30)).isoformat()},
        "errors within ten minutes": {
            "has_error": "yes",
            "started_at__gte": (error_at - timedelta(minutes=5)).isoformat(),
            "started_at__lt": (error_at + timedelta(minutes=5)).isoformat(),
        },
        "failed, by a rare model": {"status__exact": "failed", "model": "o9-experiment"},
        "search, rare word": {"q": RARE_WORD},
        "search, its beginning": {"q": RARE_WORD[:8]},
        "search, common word": {"q": COMMON_WORD},
        "search, very common word": {"q": "the"},
        "search, two words": {"q": f"order {COMMON_WORD}"},
        "search, phrase": {"q": '"the order"'},
        "search, nothing": {"q": "xylophonist"},
        "search, common word, failed": {"q": COMMON_WORD, "status__exact": "failed"},
        "search, rare word, failed": {"q": RARE_WORD, "status__exact": "failed"},
        "search, trace id": {"q": turn.trace_id},
        "search, thread id": {"q": turn.thread_id},
        "search, user": {"q": f"visitor{regular}"},
    }
    return {
        **{f"list: {name}": (LIST, parameters) for name, parameters in lists.items()},
        "turn": (f"{LIST}{turn.pk}/change/", {}),
        "thread": (f"{LIST}thread/{turn.thread_id}/", {}),
        "session": (f"{LIST}session/{turn.session_id}/", {}),
        "user": (f"{LIST}owner/{turn.owner_key}/", {}),
        **{
            f"dashboard, {span}": (DASHBOARD, {"range": span})
            for span in ("1h", "24h", "7d", "30d", "90d")
        },
        # What it keeps for a while is drawn anew.
        **{
            f"dashboard, {span}, {FIRST_LOOK}": (DASHBOARD, {"range": span})
            for span in ("24h", "90d")
        },
        "API: turns": (API, {}),
        "API: turns with errors": (API, {"has_error": "true"}),
        "API: search, common word": (API, {"search": COMMON_WORD}),
        "API: search, rare word": (API, {"search": RARE_WORD}),
        "API: turn": (f"{API}{turn.pk}/", {}),
        "API: metrics, 24 h": ("/observability/api/metrics/", {"hours": 24}),
    }


def one_of_a_thread(before: int) -> Any:
    """A completed turn of somebody with an account, in a thread and a session as near as can be to
    TURNS_IN_THREAD turns: alike, however many turns there are in all.
    """
    from observability.models import Turn

    near = Turn.objects.filter(pk__lte=before, pk__gt=before - WINDOW)
    threads = Counter(near.order_by().values_list("thread_id", flat=True))
    sessions = Counter(near.order_by().values_list("session_id", flat=True))
    return min(
        near.filter(user__isnull=False, status=Turn.Status.COMPLETED).without_texts(),
        key=lambda turn: (
            abs(threads[turn.thread_id] - TURNS_IN_THREAD)
            + abs(sessions[turn.session_id] - TURNS_IN_THREAD)
        ),
    )


def turn_time(turn: Any) -> datetime:
    at: datetime = turn.started_at
    return at.astimezone(UTC)


def measure(times: int, only: str) -> Iterator[Measured]:
    """Ask for each page once to warm up, then so many times.

    Raises AssertionError where an answer is not 200.
    """
    from django.contrib.auth.models import User
    from django.core.cache import cache
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from observability.api import views

    views.RATE = None
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get(username="operator"))
    for name, (url, parameters) in pages().items():
        if only not in name:
            continue
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(url, parameters)
        queries = len(captured)
        if answer.status_code != 200:
            raise AssertionError(f"{name}: {answer.status_code}")
        changelist = (getattr(answer, "context_data", None) or {}).get("cl")
        taken = []
        for _ in range(times):
            if name.endswith(FIRST_LOOK):
                cache.clear()
            start = time.perf_counter()
            client.get(url, parameters).content  # noqa: B018 (Rendered here.)
            taken.append((time.perf_counter() - start) * 1000)
        yield Measured(
            name=name,
            median_ms=round(median(taken), 1),
            p95_ms=round(sorted(taken)[math.ceil(0.95 * times) - 1], 1),
            queries=queries,
            rows=len(changelist.result_list) if changelist is not None else None,
        )


def bytes_of_database() -> int:
    """What the database takes on disk, with its indexes."""
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_database_size(current_database())")
        else:
            cursor.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        return int(cursor.fetchone()[0])


def read_one(database: str, turns: int, *, times: int, only: str) -> dict[str, Any]:
    """Everything about one database, which is filled if it is empty."""
    set_up(database)
    from django.core.management import call_command
    from django.utils import timezone

    from observability.models import Rollup, Turn

    call_command("migrate", verbosity=0)
    if not Turn.objects.exists():
        generate(turns, until=timezone.now(), shows_progress=True)
    if not Rollup.objects.exists():
        roll_up()
    newest = Turn.objects.latest("started_at").started_at
    # The database may be of another day: what is the last hour of its turns is so for the pages.
    with patch("django.utils.timezone.now", return_value=newest):
        found = [asdict(each) for each in measure(times, only)]
    return {"turns": turns, "bytes": bytes_of_database(), "pages": found}


def _in_a_process(database: str, turns: int, *options: str) -> dict[str, Any]:
    """One Django knows one database: each size has a process of its own."""
    command = [sys.executable, "-m", "benchmarks.reading", "--one", database, str(turns), *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def databases(vendor: str, sizes: Sequence[int]) -> Iterator[list[tuple[int, str]]]:
    if vendor == "sqlite":
        yield [(turns, sqlite_url(turns)) for turns in sizes]
    else:
        with kept_cluster() as cluster:
            yield [(turns, postgres_url(cluster, turns)) for turns in sizes]


def table(vendor: str, found: Sequence[dict[str, Any]]) -> list[str]:
    """The lines of a table in Markdown, with a mark at what is too slow or grows too much."""
    small, large = found[0], found[-1]
    lines = [
        f"### {vendor}",
        "",
        f"| median (p95) in ms | {small['turns']:,} | {large['turns']:,} | ratio | queries "
        "| rows | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for before, after in zip(small["pages"], large["pages"], strict=True):
        ratio = after["median_ms"] / before["median_ms"]
        marks = [
            mark
            for mark, is_so in (
                (f"> {LIMIT_MS} ms", after["median_ms"] > LIMIT_MS),
                (f"> {GROWTH_LIMIT}×", ratio > GROWTH_LIMIT),
            )
            if is_so
        ]
        cells = [
            after["name"],
            *(f"{each['median_ms']} ({each['p95_ms']})" for each in (before, after)),
            f"{ratio:.2f}",
            str(after["queries"]),
            "" if after["rows"] is None else f"{before['rows']} → {after['rows']}",
            ", ".join(marks),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    sizes = ", ".join(f"{each['bytes'] / each['turns']:,.0f}" for each in found)
    return [*lines, "", f"Bytes on disk per turn: {sizes}", ""]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES, metavar="TURNS")
    parser.add_argument("--only", default="", help="only pages whose names hold this")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--times", type=int, default=TIMES, help="how often to ask for each page")
    parser.add_argument(
        "--one", nargs=2, metavar=("DATABASE_URL", "TURNS"), help="only this database, as JSON"
    )
    options = parser.parse_args(arguments)
    if options.one:
        database, turns = options.one
        found = read_one(database, int(turns), times=options.times, only=options.only)
        sys.stdout.write(json.dumps(found))
        return
    passed_on = ("--times", str(options.times), "--only", options.only)
    vendors = ("sqlite", "postgres") if options.database == "both" else (options.database,)
    figures = {}
    for vendor in vendors:
        with databases(vendor, options.sizes) as known:
            figures[vendor] = [_in_a_process(url, turns, *passed_on) for turns, url in known]
        sys.stdout.write("\n".join(table(vendor, figures[vendor])) + "\n")
        sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""The benchmarks run: what they measure is for machines that do nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from benchmarks.reading import table
from tests.servers import ROOT


@pytest.mark.skipif(connection.vendor != "sqlite", reason="It brings a database of its own")
@pytest.mark.timeout(300)
def test_every_page_is_measured_on_a_small_history(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.reading", "--times", "1"]
    done = subprocess.run(
        [*command, "--one", f"sqlite:///{tmp_path / 'turns.sqlite3'}", "200"],
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    found = json.loads(done.stdout)
    names = [page["name"] for page in found["pages"]]
    assert {"turn", "thread", "session", "user", "API: turns", "list: all"} <= set(names)
    assert all(page["median_ms"] > 0 and page["queries"] for page in found["pages"])
    assert found["bytes"] > 200 * 1_000


def test_the_table_marks_what_is_too_slow_and_what_grows_too_much() -> None:
    def figures(turns: int, **medians: float) -> dict[str, object]:
        pages = [
            {"name": name, "median_ms": median, "p95_ms": median, "queries": 7, "rows": 25}
            for name, median in medians.items()
        ]
        return {"turns": turns, "bytes": turns * 10, "pages": pages}

    lines = table(
        "sqlite",
        [
            figures(10, fine=40, slow=90, grows=10, both=50),
            figures(1_000, fine=79, slow=101, grows=21, both=102),
        ],
    )
    assert [line.split(" | ")[-1].strip(" |") for line in lines if " | 7 | 25 → 25 | " in line] == [
        "",
        "> 100 ms",
        "> 2×",
        "> 100 ms, > 2×",
    ]

"""The benchmark of the store runs, at its smallest: what it measures is for a quiet machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from chatkit.store import Store
from django.db import connection

from benchmarks.store import heads, rows
from tests.benchmark_runs import run

PURGES = {"delete_thread", "delete_attachment"}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="It brings a database of its own")
@pytest.mark.timeout(300)
def test_every_method_is_held_against_its_own_statements(tmp_path: Path) -> None:
    smallest = ["--database", "sqlite", "--sizes", "1", "3", "--runs", "1", "--calls", "2"]
    everything, printed = run(tmp_path, "store", *smallest)
    found = everything["sqlite"]
    for size in (1, 3):
        methods = {each["method"].split(",")[0] for each in found if each["size"] == size}
        assert methods == Store.__abstractmethods__ - PURGES
    for each in found:
        ((ours, bare),) = each["pairs"]
        assert min(ours, bare) > 0
        assert each["statements"] >= 1
    assert "| sqlite | load_thread | 1 |" in printed


def test_the_table_compares_sizes_that_fill_a_page() -> None:
    figures = [
        {"method": "load_thread_items", "size": size, "statements": 1, "pairs": [[rate, 1_000]]}
        for size, rate in ((1, 900), (60, 400), (5_000, 300))
    ]
    sizes = (1, 60, 5_000)
    (line,) = rows("sqlite", figures, sizes)
    shown = dict(zip(heads(sizes), line, strict=True))
    assert shown["5,000 ÷ 60 (flat: 1)"] == "0.75"
    assert [shown[f"ratio, {size:,}"] for size in sizes] == ["0.900", "0.400", "0.300"]

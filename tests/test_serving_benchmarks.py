"""The benchmarks that serve run, at their smallest: what they measure is for a quiet machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection

from tests.benchmark_runs import run

pytestmark = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="They bring databases of their own"
)

SMALL = ["--database", "sqlite", "--runs", "1", "--turns", "3", "--clients", "2"]


@pytest.mark.timeout(300)
def test_both_servers_stream_the_same_deltas(tmp_path: Path) -> None:
    figures, table = run(tmp_path, "streaming", *SMALL, "--respond", "deltas", "--processes", "1")
    (compared,) = figures
    bare, ours = (compared[side][0]["seen"] for side in ("bare", "ours"))
    assert bare["turns"] == ours["turns"] == 3
    assert bare["events"] == ours["events"] > 3 * 200
    assert "| sqlite | deltas | 1 | 2 |" in table


@pytest.mark.timeout(300)
def test_what_is_stored_is_looked_for_in_the_database(tmp_path: Path) -> None:
    figures, _ = run(tmp_path, "storing", *SMALL, "--respond", "short")
    ((ours, plain),) = figures["sqlite"]["recorder"]
    assert min(ours, plain) > 0
    assert figures["sqlite"]["short"]["http"]["2"]
    assert figures["sqlite"]["short"]["bytes"]["base"] > 0


@pytest.mark.timeout(300)
def test_commands_that_do_not_chat_import_no_sdk(tmp_path: Path) -> None:
    figures, _ = run(tmp_path, "start", "--runs", "1")
    assert figures["imported"] == {"check": [], "migrate": [], "purge_threads --help": []}

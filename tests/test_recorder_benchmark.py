"""The recorder's benchmark runs, at its smallest: what it measures is for a quiet machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection

from tests.benchmark_runs import run

pytestmark = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="It brings databases of its own"
)


@pytest.mark.timeout(300)
def test_what_recording_costs_is_told_by_event_turn_and_transaction(tmp_path: Path) -> None:
    options = ["--database", "sqlite", "--runs", "1", "--turns", "3", "--repeats", "2"]
    everything, printed = run(tmp_path, "recorder", *options)
    figures = everything["sqlite"]

    (events,) = figures["events"]
    assert events.keys() == {"deltas", "agent"}
    for costs in events.values():
        assert costs.keys() == {"sdk", "observe", "wrapped", "whole"}
        assert min(costs["sdk"], costs["observe"]) > 0

    (turn,) = figures["turns"]
    assert min(turn["ours"], turn["plain"]) > 0
    assert turn["database"] == turn["plain_database"] == 0

    counts = figures["transactions"]
    # A thread, its title, and three items.
    assert counts["store"] == 5
    assert 0 < counts["recorder"] <= counts["beyond"]
    beyond = [what for what in counts["writes"] if what.startswith("beyond: ")]
    assert any("observability_turn" in what for what in beyond)
    assert not any("chatkit_endpoint_threaditem" in what for what in beyond)
    assert counts["worker"] > 0

    assert "| sqlite | deltas | " in printed
    assert "ms of one core (≤ 3)" in printed

"""The command that computes rollups anew."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from observability import rollups
from observability.models import Rollup, Turn
from tests.factories import make_turn

pytestmark = pytest.mark.django_db


def rebuild(*arguments: str) -> str:
    out = io.StringIO()
    call_command("rebuild_rollups", *arguments, stdout=out)
    return out.getvalue()


def turns_of(period: str) -> list[int]:
    found = Rollup.objects.of_all().filter(period=period).order_by("starts_at")
    return [row.turns for row in found]


def test_it_computes_every_hour_and_day_that_is_over() -> None:
    for age in (60, 60, 50, 30, 4, 0):
        make_turn(age=timedelta(hours=age))
    assert rebuild() == f"Computed: 4 hours and {len(turns_of('day'))} days.\n"
    assert turns_of("hour") == [2, 1, 1, 1]
    days = sum(
        rollups.day_of(started_at) < rollups.day_of(rollups.open_hour(timezone.now()))
        for started_at in Turn.objects.values_list("started_at", flat=True)
    )
    assert sum(turns_of("day")) == days


def test_it_tells_what_has_changed_without_a_trace() -> None:
    turn = make_turn(age=timedelta(days=30))
    rebuild()
    Turn.objects.filter(pk=turn.pk).update(status=Turn.Status.FAILED)
    rebuild()
    assert set(Rollup.objects.values_list("errors", flat=True)) == {1}


def test_since_leaves_what_is_older() -> None:
    make_turn(started_at=datetime(2026, 1, 1, 12, tzinfo=UTC))
    make_turn(started_at=datetime(2026, 1, 2, 0, tzinfo=UTC))
    rebuild("--since", "2026-01-02")
    assert list(Rollup.objects.of_all().values_list("starts_at", flat=True).distinct()) == [
        datetime(2026, 1, 2, tzinfo=UTC)
    ]


def test_hours_whose_turns_are_gone_keep_their_figures() -> None:
    make_turn(age=timedelta(days=3))
    make_turn(age=timedelta(days=3))
    rebuild()
    Turn.objects.latest("pk").delete()
    assert "Left as they were: 1 hour with fewer turns now.\n" in rebuild()
    Turn.objects.all().delete()
    assert rebuild() == "Computed: 0 hours and 0 days.\n"
    assert turns_of("hour") == turns_of("day") == [2]


@pytest.mark.parametrize("since", ["yesterday", "2026-02-30", "03/01/2026"])
def test_what_is_no_date_is_refused_with_an_example(since: str) -> None:
    with pytest.raises(CommandError, match="is not a date such as 2026-03-01"):
        rebuild("--since", since)


def test_ctrl_c_tells_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    make_turn(age=timedelta(days=3))
    monkeypatch.setattr(rollups, "compute_hour", interrupt)
    with pytest.raises(CommandError, match="Run it again") as caught:
        rebuild()
    assert caught.value.returncode == 130

"""The figures of the dashboard as the page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from . import metrics
from .display import UNKNOWN, age, date_and_time, milliseconds, number, percent
from .health import Situation, judge
from .models import ERRORS, Delivery, Turn
from .outbox import enabled_destinations
from .turn_page import error_of, prompt_of, user_name

TURNS = "admin:observability_turn_changelist"
DELIVERIES = "admin:observability_delivery_changelist"

HOUR = timedelta(hours=1)
DAY = timedelta(hours=24)
LISTED = 10
"""How many turns each list has."""

# The chart, in units of its drawing.
CHART_HEIGHT = 120
BAR_STEP = 30
BAR_WIDTH = 22


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One figure of what is the case now."""

    label: str
    figure: str
    remark: str = ""
    url: str = ""
    """The list of what was counted; empty for who may not see it."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One hour: where the chart draws it, and what its table tells of it."""

    hour: metrics.Hour
    x: int
    others_y: int
    others_height: int
    errors_y: int
    errors_height: int
    ttft: str


@dataclass(frozen=True, kw_only=True)
class TurnRow:
    """A turn in a list of the dashboard."""

    pk: int
    time: str
    user: str
    prompt: str
    error: str
    ttft: str
    total: str


def context(now: datetime, *, may_view_deliveries: bool, shows_content: bool) -> dict[str, Any]:
    """All that the page shows, as of ``now``."""
    samples = metrics.samples(now - DAY)
    situation = Situation(
        hour=metrics.figures(sample for sample in samples if sample.started_at >= now - HOUR),
        day=metrics.figures(samples),
        running=metrics.running(),
        outbox=metrics.outbox(now - DAY),
        forwards=bool(enabled_destinations()),
        now=now,
    )
    hours = metrics.by_hour(samples, now)
    return {
        "now": now,
        "verdict": judge(situation),
        "tiles": tiles(situation, may_view_deliveries=may_view_deliveries),
        "ranges": [
            (_("Last hour"), row(situation.hour)),
            (_("Last 24 hours"), row(situation.day)),
        ],
        "has_turns": bool(situation.day.turns),
        "bars": bars(hours),
        "busiest": max(hour.figures.turns for hour in hours),
        "chart": {
            "width": BAR_STEP * len(hours),
            "height": CHART_HEIGHT,
            "bar": BAR_WIDTH,
            "labels": CHART_HEIGHT + 16,
        },
        "failed": [
            turn_row(turn, shows_content=shows_content)
            for turn in metrics.failed(now - DAY, LISTED)
        ],
        "failed_url": reverse(
            TURNS,
            query={"status__exact": ERRORS, "started_at__gte": str(now - DAY)},
        ),
        "slowest": [
            turn_row(turn, shows_content=shows_content)
            for turn in metrics.slowest(now - DAY, LISTED)
        ],
    }


def tiles(situation: Situation, *, may_view_deliveries: bool) -> list[Tile]:
    """What is the case now, each figure with the list that it counts."""
    running, outbox, now = situation.running, situation.outbox, situation.now
    last = outbox.last_delivered_at

    def deliveries(*states: Delivery.State) -> str:
        return reverse(DELIVERIES, query={"state__exact": states}) if may_view_deliveries else ""

    return [
        Tile(
            label=_("Running turns"),
            figure=number(running.turns),
            remark=(
                _("%(count)s left behind") % {"count": number(running.orphaned)}
                if running.orphaned
                else ""
            ),
            url=reverse(TURNS, query={"status__exact": Turn.Status.RUNNING}),
        ),
        Tile(
            label=_("Deliveries waiting"),
            figure=number(outbox.waiting),
            remark=(
                _("the oldest for %(age)s") % {"age": age(outbox.oldest_at, now)}
                if outbox.oldest_at
                else ""
            ),
            url=deliveries(Delivery.State.PENDING, Delivery.State.LEASED),
        ),
        Tile(
            label=_("Deliveries given up"),
            figure=number(outbox.dead),
            url=deliveries(Delivery.State.DEAD),
        ),
        Tile(
            label=_("Last successful delivery"),
            figure=_("%(age)s ago") % {"age": age(last, now)} if last else UNKNOWN,
            remark="" if situation.forwards else _("Forwarding is off."),
            url=deliveries(Delivery.State.DELIVERED),
        ),
    ]


def row(of: metrics.Figures) -> list[str]:
    """A range's figures in the order of the table's columns."""
    return [
        number(of.turns),
        number(of.errors),
        percent(of.error_rate),
        *map(milliseconds, (of.ttft.p50, of.ttft.p95, of.ttft.p99)),
        *map(milliseconds, (of.duration.p50, of.duration.p95, of.duration.p99)),
    ]


def turn_row(turn: Turn, *, shows_content: bool) -> TurnRow:
    """Of a turn from :func:`metrics.brief`."""
    return TurnRow(
        pk=turn.pk,
        time=date_and_time(turn.started_at),
        user=user_name(turn),
        prompt=prompt_of(turn) if shows_content else UNKNOWN,
        error=error_of(turn) if shows_content else turn.error_code or turn.get_status_display(),
        ttft=milliseconds(turn.ttft_ms),
        total=milliseconds(turn.total_ms),
    )


def bars(hours: Sequence[metrics.Hour]) -> list[Bar]:
    """The hours as stacked bars, errors on top; the busiest hour fills the height."""
    busiest = max(hour.figures.turns for hour in hours) or 1
    drawn = []
    for index, hour in enumerate(hours):
        total = _height(hour.figures.turns, busiest)
        errors = min(total, _height(hour.figures.errors, busiest))
        drawn.append(
            Bar(
                hour=hour,
                x=index * BAR_STEP + (BAR_STEP - BAR_WIDTH) // 2,
                errors_y=CHART_HEIGHT - total,
                errors_height=errors,
                others_y=CHART_HEIGHT - total + errors,
                others_height=total - errors,
                ttft=milliseconds(hour.figures.ttft.p50),
            )
        )
    return drawn


def _height(count: int, busiest: int) -> int:
    # Two units at least: what is there must be seen.
    return max(2, round(CHART_HEIGHT * count / busiest)) if count else 0

"""The figures of the dashboard as the page shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from . import metrics, trends
from .display import UNKNOWN, age, date_and_time, milliseconds, number
from .health import Situation, judge
from .models import ERRORS, Delivery, Turn
from .outbox import enabled_destinations
from .tallies import Figures
from .trend_page import row, section
from .trends import Range
from .turn_page import error_of, prompt_of, user_name

TURNS = "admin:observability_turn_changelist"
DELIVERIES = "admin:observability_delivery_changelist"

MINUTES = timedelta(minutes=5)
HOUR = timedelta(hours=1)
DAY = timedelta(hours=24)
LISTED = 10
"""How many turns each list has."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One figure of what is the case now."""

    label: str
    figure: str
    remark: str = ""
    url: str = ""
    """The list of what was counted; empty for who may not see it."""


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
    is_outlier: bool
    """It took much longer than the others of the range."""


def context(
    now: datetime, *, of: Range, may_view_deliveries: bool, shows_content: bool
) -> dict[str, Any]:
    """All that the page shows of this range, as of ``now``."""
    trend = section(of, now)
    minutes, hour = trends.lately((MINUTES, HOUR), now)
    situation = Situation(
        hour=hour,
        # It is judged by the day only where the hour has nothing to judge by.
        day=hour if hour.settled else _day(now),
        running=metrics.running(),
        outbox=metrics.outbox(now - DAY),
        forwards=bool(enabled_destinations()),
        now=now,
    )

    def rows(turns: Iterable[Turn]) -> list[TurnRow]:
        return [
            turn_row(turn, fence_ms=trend.fence_ms, shows_content=shows_content) for turn in turns
        ]

    return {
        "now": now,
        "verdict": judge(situation),
        "tiles": tiles(situation, may_view_deliveries=may_view_deliveries),
        "lately": [(_("Last 5 minutes"), row(minutes)), (_("Last 60 minutes"), row(hour))],
        "trend": trend,
        "fence": milliseconds(trend.fence_ms),
        "failed": rows(metrics.failed(trend.since, LISTED)),
        "failed_url": reverse(
            TURNS,
            query={"status__exact": ERRORS, "started_at__gte": str(trend.since)},
        ),
        "slowest": rows(metrics.slowest(trend.since, LISTED, at_least_ms=trend.at_least_ms)),
    }


def _day(now: datetime) -> Figures:
    return trends.over(trends.starts(Range.DAY, now)[:1], now).total


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


def turn_row(turn: Turn, *, fence_ms: float | None, shows_content: bool) -> TurnRow:
    """Of a turn from :func:`metrics.brief`."""
    return TurnRow(
        pk=turn.pk,
        time=date_and_time(turn.started_at),
        user=user_name(turn),
        prompt=prompt_of(turn) if shows_content else UNKNOWN,
        error=error_of(turn) if shows_content else turn.error_code or turn.get_status_display(),
        ttft=milliseconds(turn.ttft_ms),
        total=milliseconds(turn.total_ms),
        is_outlier=fence_ms is not None and (turn.total_ms or 0) > fence_ms,
    )

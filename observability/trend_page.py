"""A trend as the dashboard shows it: charts, and rows of figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product

from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from . import trends
from .charts import Axis, Series, lines, stacked_bars
from .display import UNKNOWN, milliseconds, number, percent, visible
from .models import Rollup
from .tallies import Figures
from .together import dollars
from .trends import Bar, Range, Share, Trend

Shown = Callable[[float | None], str]
Columns = dict[int, str]
"""The place of a column in :func:`row`, and its heading."""

NAMED_BARS = {Range.HOUR: 2, Range.DAY: 3, Range.WEEK: 4, Range.MONTH: 5, Range.QUARTER: 2}
"""Each how many bars there is room for a name under the axis of the wide chart."""
WIDE, NARROW = 900, 440


KEPT_SECONDS = 20
BARS_GROW_UNSEEN = 10_000
"""A range's part of so many is kept: a minute of 7 days, 13 minutes of 90."""
"""How old what is told of a range may be."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """What the page tells of a range, and what its lists of turns have to know of it."""

    html: SafeString
    since: datetime
    until: datetime
    turns: int
    fence_ms: float | None
    at_least_ms: int


@dataclass(frozen=True, kw_only=True)
class Chart:
    title: str
    svg: SafeString
    keys: list[str]
    """What the colours stand for, the first one first."""
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    """What is behind it as a table: times and figures."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The models, the locales or the users of a range."""

    title: str
    rows: list[tuple[str, str, list[str]]]
    """Name, link or "", figures."""


def section(of: Range, now: datetime) -> Section:
    """The part of the page about a range, as it was at most :func:`kept_seconds` ago.

    Kept, since to draw the charts takes longer than all the rest of the page, and operators leave
    the page open or load it again.
    """
    seconds = kept_seconds(of)
    zone = timezone.get_current_timezone_name()
    key = f"observability.trend.{of.value}.{get_language()}.{zone}"
    kept: Section | None = cache.get(key)
    if kept is None or not kept.until <= now <= kept.until + timedelta(seconds=seconds):
        kept = _section(of, now)
        cache.set(key, kept, seconds)
    return kept


def kept_seconds(of: Range) -> float:
    """So long that the last of its bars can hardly be seen to have grown; 20 s at least."""
    return max(KEPT_SECONDS, 24 * 60 * 60 * trends.DAYS.get(of, 0) / BARS_GROW_UNSEEN)


def _section(of: Range, now: datetime) -> Section:
    trend = trends.trend(of, now)
    html = render_to_string(
        "admin/observability/dashboard/trends.html",
        {
            "ranges": [
                {"label": each.label, "query": f"?range={each.value}", "is_current": each == of}
                for each in Range
            ],
            "trend": trend,
            "total": row(trend.total),
            "charts": charts(of, trend),
            "groups": groups(trend),
        },
    )
    return Section(
        html=html,
        since=trend.since,
        until=trend.until,
        turns=trend.total.turns,
        fence_ms=trend.total.fence_ms,
        at_least_ms=trend.at_least_ms,
    )


def charts(of: Range, trend: Trend) -> list[Chart]:
    """The charts of a trend; their tables have, between them, all the columns of its figures."""
    times = [bar_time(bar, of) for bar in trend.bars]
    names = [bar_time(bar, of, is_short=True) for bar in trend.bars]
    figures = [bar.figures for bar in trend.bars]
    rows = [row(each) for each in figures]

    def chart(
        title: str,
        draw: Callable[[Axis, Sequence[Series], Shown], SafeString],
        shown: Shown,
        columns: Columns,
        *series: Series,
        is_narrow: bool = True,
    ) -> Chart:
        label = _("%(title)s, %(range)s; a table with the figures follows.") % {
            "title": title,
            "range": of.label,
        }
        width, named = (NARROW, 2 * NAMED_BARS[of]) if is_narrow else (WIDE, NAMED_BARS[of])
        shown_names = ["" if number % named else name for number, name in enumerate(names)]
        axis = Axis(label=label, times=times, names=shown_names, width=width)
        return Chart(
            title=title,
            svg=draw(axis, series, shown),
            keys=[each.label for each in series],
            columns=list(columns.values()),
            rows=[
                (time, [cells[number] for number in columns])
                for time, cells in zip(times, rows, strict=True)
            ],
        )

    first, duration = _("First token, %(share)s"), _("Duration, %(share)s")
    return [
        chart(
            _("Turns"),
            stacked_bars,
            number,
            {
                0: _("Turns"),
                1: _("Errors"),
                2: _("Error rate"),
                12: _("Positive feedback"),
                13: _("Negative feedback"),
            },
            Series(
                label=_("without an error"), values=[each.turns - each.errors for each in figures]
            ),
            Series(label=_("with an error"), values=[each.errors for each in figures]),
            is_narrow=False,
        ),
        chart(
            _("Time to first token"),
            lines,
            milliseconds,
            {
                number: label % {"share": share}
                for number, (label, share) in enumerate(
                    product((first, duration), ("p50", "p95", "p99")), start=3
                )
            },
            Series(label="p50", values=[each.ttft.p50 for each in figures]),
            Series(label="p95", values=[each.ttft.p95 for each in figures]),
        ),
        chart(
            _("Tokens"),
            stacked_bars,
            number,
            {9: _("Input"), 10: _("Output"), 11: _("Cost")},
            Series(label=_("input"), values=[each.input_tokens for each in figures]),
            Series(label=_("output"), values=[each.output_tokens for each in figures]),
        ),
    ]


def bar_time(bar: Bar, of: Range, *, is_short: bool = False) -> str:
    """Where a bar begins: a day of the site's time zone, or a time of the current one."""
    if of in (Range.MONTH, Range.QUARTER):
        day = timezone.localtime(bar.starts_at, timezone.get_default_timezone())
        return formats.date_format(day, "MONTH_DAY_FORMAT")
    local = timezone.localtime(bar.starts_at)
    if of != Range.WEEK:
        return f"{local:%H:%M}"
    day_name = formats.date_format(local, "MONTH_DAY_FORMAT")
    if is_short:
        return day_name
    return _("%(date)s, %(time)s") % {"date": day_name, "time": f"{local:%H:%M}"}


def row(of: Figures) -> list[str]:
    """A range's figures in the order of the table's columns."""
    return [
        number(of.turns),
        number(of.errors),
        percent(of.error_rate),
        *map(milliseconds, (of.ttft.p50, of.ttft.p95, of.ttft.p99)),
        *map(milliseconds, (of.duration.p50, of.duration.p95, of.duration.p99)),
        number(of.input_tokens),
        number(of.output_tokens),
        dollars(of.cost_usd),
        number(of.positive),
        number(of.negative),
    ]


def groups(trend: Trend) -> list[Group]:
    """The range told apart by each dimension."""
    owners = trend.by[Rollup.Dimension.USER]
    names = _user_names(owners)
    pages = {
        share.value: reverse("admin:observability_turn_owner", args=[share.value])
        for share in owners
        if share.value and "/" not in share.value
    }
    nothing: dict[str, str] = {}
    return [
        Group(
            title=title,
            rows=[
                (
                    visible(known.get(share.value, share.value)) or UNKNOWN,
                    links.get(share.value, ""),
                    row(share.figures),
                )
                for share in trend.by[dimension]
            ],
        )
        for dimension, title, known, links in (
            (Rollup.Dimension.MODEL, _("By model"), nothing, nothing),
            (Rollup.Dimension.LOCALE, _("By locale"), nothing, nothing),
            (Rollup.Dimension.USER, _("By user"), names, pages),
        )
    ]


def _user_names(owners: Iterable[Share]) -> dict[str, str]:
    """The names of the owners who are users, in one query."""
    users = get_user_model()
    keys = {}
    for owner in owners:
        kind, _separator, pk = owner.value.partition(":")
        if kind == "user":
            try:
                keys[users._meta.pk.to_python(pk)] = owner.value
            except ValidationError:
                continue  # Another server's idea of an owner.
    found = users._default_manager.in_bulk(list(keys))
    return {keys[pk]: user.get_username() for pk, user in found.items()}

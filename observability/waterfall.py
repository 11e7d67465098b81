"""A turn's spans as the rows of a chart: in the order of the tree, placed on one time axis."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from .display import milliseconds, visible
from .models import Turn, TurnSpans
from .span_log import Kind

AXIS = 1000
"""The chart's width, in units of its drawing."""
DEPTH_AT_MOST = 6
TICKS = 4


@dataclass(frozen=True, kw_only=True)
class Row:
    """One span: where the chart draws it, and what its table tells of it."""

    name: str
    kind: str
    kind_label: str
    depth: int
    x: int
    width: int
    start: str
    duration: str
    is_error: bool
    error: str
    where: str
    details: str


@dataclass(frozen=True, kw_only=True)
class Waterfall:
    rows: list[Row]
    first_token_x: int | None
    first_token: str
    ticks: list[tuple[int, str]]
    """Where the axis is marked, and with which time."""


def waterfall(turn: Turn, *, shows_content: bool) -> Waterfall | None:
    """The chart of a turn that has ended; None where its spans weren't kept or are purged.

    What tools were handed, returned and complained of is content too.
    """
    found = TurnSpans.objects.filter(turn=turn).first()
    if found is None or not found.spans:
        return None
    spans: list[dict[str, Any]] = found.spans
    end_ms: float = max(1.0, *(span["start_ms"] + span["duration_ms"] for span in spans))

    def place(ms: float) -> int:
        return round(AXIS * ms / end_ms)

    return Waterfall(
        rows=[_row(span, depth, place, shows_content) for span, depth in _in_order(spans)],
        first_token_x=None if turn.ttft_ms is None else place(min(turn.ttft_ms, end_ms)),
        first_token=milliseconds(turn.ttft_ms),
        ticks=[
            (AXIS * tick // TICKS, milliseconds(end_ms * tick / TICKS)) for tick in range(TICKS + 1)
        ],
    )


def _in_order(spans: list[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """Each span behind its parent, in the order in which they began, with its depth."""
    children: dict[str, list[dict[str, Any]]] = {}
    for span in sorted(spans, key=lambda span: span["start_ms"]):
        children.setdefault(span["parent_id"], []).append(span)
    ordered = []
    stack = [(span, 0) for span in reversed(children.get("", []))]
    while stack:
        span, depth = stack.pop()
        ordered.append((span, depth))
        # Each only once, also if what is stored goes round in a circle.
        stack += [(child, depth + 1) for child in reversed(children.pop(span["id"], []))]
    return ordered


def _row(
    span: dict[str, Any], depth: int, place: Callable[[float], int], shows_content: bool
) -> Row:
    x = place(span["start_ms"])
    error: dict[str, str] | None = span.get("error")
    attributes = dict(span.get("attributes") or {})
    is_unfinished = attributes.pop("unfinished", False)
    told = [(error or {}).get("type", "")]
    if shows_content:
        told.append((error or {}).get("message", ""))
    kind = span["kind"] if span["kind"] in Kind else Kind.OTHER.value
    duration = milliseconds(span["duration_ms"])
    return Row(
        name=visible(span["name"]),
        kind=kind,
        kind_label=str(Kind(kind).label),
        depth=min(depth, DEPTH_AT_MOST),
        x=x,
        # A step that took next to no time must be seen all the same.
        width=max(3, place(span["start_ms"] + span["duration_ms"]) - x),
        start=milliseconds(span["start_ms"]),
        duration=_("%(duration)s, not finished") % {"duration": duration}
        if is_unfinished
        else duration,
        is_error=error is not None,
        error=visible(": ".join(filter(None, told))),
        where=visible((error or {}).get("where", "")),
        details=_details(attributes) if shows_content else "",
    )


def _details(attributes: dict[str, Any]) -> str:
    return visible(
        "\n".join(
            f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            for name, value in attributes.items()
            if value not in ("", [], None)
        )
    )

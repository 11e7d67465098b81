"""What a number of turns comes to: added up turn by turn, or from what was added up before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from .models import ERRORS, Rollup, Turn
from .sketch import Sketch

TIMES = ("ttft_ms", "duration_ms", "total_ms")
SUMS = (
    "turns",
    "settled",
    "errors",
    "cancelled",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_usd",
    "priced",
    "positive",
    "negative",
)
"""The columns of a rollup that add up."""
FENCE_TURNS = 20
"""Of fewer turns, no one stands out."""

# As plain strings, which are compared several times as fast: it is done for every turn.
_RUNNING, _CANCELLED = Turn.Status.RUNNING.value, Turn.Status.CANCELLED.value
_ERRORS = frozenset(status.value for status in ERRORS)
_POSITIVE, _NEGATIVE = Turn.Feedback.POSITIVE.value, Turn.Feedback.NEGATIVE.value


class Row(NamedTuple):
    """The columns of a turn that figures are made of."""

    started_at: datetime
    model: str
    locale: str
    owner_key: str
    status: str
    feedback: str
    ttft_ms: int | None
    duration_ms: int | None
    total_ms: int | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: Decimal | None

    def value_of(self, dimension: str) -> str:
        return str(getattr(self, COLUMNS[dimension])) if dimension else ""


COLUMNS: Mapping[str, str] = {
    Rollup.Dimension.MODEL: "model",
    Rollup.Dimension.LOCALE: "locale",
    Rollup.Dimension.USER: "owner_key",
}
"""The column of a turn that each dimension goes by."""


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """Within one percent; null where there was no value."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, sketch: Sketch) -> Percentiles:
        p50, p95, p99 = sketch.quantiles(0.50, 0.95, 0.99)
        return cls(p50=p50, p95=p95, p99=p99)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a range of turns comes to; times in ms."""

    turns: int = 0
    settled: int = 0
    errors: int = 0
    cancelled: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal | None = None
    """Of the turns whose cost is known; None where it is of none."""
    priced: int = 0
    positive: int = 0
    negative: int = 0
    ttft: Percentiles = Percentiles()
    duration: Percentiles = Percentiles()
    total: Percentiles = Percentiles()
    fence_ms: float | None = None
    """A turn that took longer in all stands out: beyond the third quartile by three times the
    distance between the first and the third (Tukey's outer fence). None of few turns."""

    @property
    def error_rate(self) -> float | None:
        """Errors among the settled turns, 0 to 1; None where none has settled."""
        return self.errors / self.settled if self.settled else None


@dataclass(slots=True)
class Tally:
    """Figures in the making."""

    turns: int = 0
    settled: int = 0
    errors: int = 0
    cancelled: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    priced: int = 0
    positive: int = 0
    negative: int = 0
    ttft_ms: Sketch = field(default_factory=Sketch)
    duration_ms: Sketch = field(default_factory=Sketch)
    total_ms: Sketch = field(default_factory=Sketch)

    def add(self, turn: Row) -> None:
        self.turns += 1
        self.settled += turn.status != _RUNNING
        self.errors += turn.status in _ERRORS
        self.cancelled += turn.status == _CANCELLED
        self.input_tokens += turn.input_tokens or 0
        self.cached_tokens += turn.cached_tokens or 0
        self.output_tokens += turn.output_tokens or 0
        self.reasoning_tokens += turn.reasoning_tokens or 0
        if turn.cost_usd is not None:
            self.cost_usd += turn.cost_usd
            self.priced += 1
        self.positive += turn.feedback == _POSITIVE
        self.negative += turn.feedback == _NEGATIVE
        if turn.ttft_ms is not None:
            self.ttft_ms.add(turn.ttft_ms)
        if turn.duration_ms is not None:
            self.duration_ms.add(turn.duration_ms)
        if turn.total_ms is not None:
            self.total_ms.add(turn.total_ms)

    def merge(self, other: Tally) -> None:
        """Add all that the other one has."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in TIMES:
            getattr(self, name).merge(getattr(other, name))

    def figures(self) -> Figures:
        return Figures(
            **{name: getattr(self, name) for name in SUMS}
            | {"cost_usd": self.cost_usd if self.priced else None},
            ttft=Percentiles.of(self.ttft_ms),
            duration=Percentiles.of(self.duration_ms),
            total=Percentiles.of(self.total_ms),
            fence_ms=self._fence(),
        )

    def _fence(self) -> float | None:
        first, third = self.total_ms.quantiles(0.25, 0.75)
        if first is None or third is None or len(self.total_ms) < FENCE_TURNS:
            return None
        return third + 3 * (third - first)

    def columns(self) -> dict[str, Any]:
        """As a rollup keeps it."""
        sketches = {name: getattr(self, name).to_json() for name in TIMES}
        return {name: getattr(self, name) for name in SUMS} | {"sketches": sketches}

    def merge_columns(self, columns: Mapping[str, Any]) -> None:
        """Add all that a rollup has."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + columns[name])
        self.merge_sketches(columns["sketches"])

    def merge_sketches(self, sketches: Mapping[str, Any]) -> None:
        """Add the times alone that a rollup has."""
        self.ttft_ms.merge_json(sketches["ttft_ms"])
        self.duration_ms.merge_json(sketches["duration_ms"])
        self.total_ms.merge_json(sketches["total_ms"])

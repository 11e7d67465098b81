"""Quantiles of many values in little room, and of several such heaps together.

A value falls into the bucket ``ceil(log_g(value))`` with ``g = (1 + a) / (1 - a)``, and is told as
``2 g^bucket / (g + 1)``, which is at most the share ``a`` off. That is DDSketch (C. Masson,
J. E. Rim, H. K. Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error
Guarantees", PVLDB 12, 2019). Two sketches are merged by adding up their buckets, so the quantiles
of a month are as good as those of an hour. Not the package ``ddsketch``: it has no JSON form (only
protobuf) and no types, and the formula is all that would be used of it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate

ACCURACY = 0.01
"""How far a quantile may be off, as a share of itself."""

_BASE = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_BASE = math.log(_BASE)
_ZERO = -1
"""The bucket of 0, which has no logarithm. Whole numbers above it start at bucket 0."""


@lru_cache(maxsize=10_000)  # A turn's time goes into several sketches, one after another.
def bucket_of(value: int) -> str:
    return str(math.ceil(math.log(value) / _LOG_BASE) if value > 0 else _ZERO)


class Sketch:
    """How many of some whole numbers, 0 or more, fell into each bucket.

    Numbers below 2^31 know 1,075 buckets, so a sketch has a bound whatever is added to it.
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        # By the bucket as JSON has it: months are merged as they come from the database.
        self._counts: dict[str, int] = {}

    def add(self, value: int) -> None:
        bucket = bucket_of(value)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1

    def merge(self, other: Sketch) -> None:
        """Add all that the other one has."""
        self.merge_json(other._counts)

    def merge_json(self, buckets: Mapping[str, int]) -> None:
        """Add all that a sketch had when it was stored."""
        counts = self._counts
        if not counts:
            counts.update(buckets)
            return
        for bucket, count in buckets.items():
            counts[bucket] = counts.get(bucket, 0) + count

    def __len__(self) -> int:
        """How many values it has seen."""
        return sum(self._counts.values())

    def quantiles(self, *shares: float) -> list[float | None]:
        """For each share, 0 to 1, the value that so many of the values do not exceed; None of none.

        Between two ranks it is interpolated, as NumPy does by default.
        """
        if not self._counts:
            return [None] * len(shares)
        buckets = sorted(map(int, self._counts))
        seen = list(accumulate([self._counts[str(bucket)] for bucket in buckets]))

        def at(rank: int) -> float:
            bucket = buckets[bisect_right(seen, rank)]
            return 0.0 if bucket == _ZERO else 2 * _BASE**bucket / (_BASE + 1)

        found: list[float | None] = []
        for share in shares:
            position = (seen[-1] - 1) * share
            below = at(math.floor(position))
            above = at(math.ceil(position))
            found.append(below + (above - below) * (position % 1))
        return found

    def reached_by(self, count: int) -> int:
        """A number that at least so many of the values reach, not far below them; 0 of fewer."""
        above = 0
        for bucket in sorted(map(int, self._counts), reverse=True):
            above += self._counts[str(bucket)]
            if above >= count and bucket > 0:
                return math.floor(_BASE ** (bucket - 1))
        return 0

    def to_json(self) -> dict[str, int]:
        return dict(self._counts)

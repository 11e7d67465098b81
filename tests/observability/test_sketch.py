"""The sketch that quantiles are told from."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from observability.sketch import ACCURACY, Sketch

Numbers = npt.NDArray[np.int64]
SHARES = (0, 0.25, 0.5, 0.75, 0.95, 0.99, 1)
HOURS = 24
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], npt.NDArray[np.float64]]] = {
    "log-normal, as waiting times are": lambda rng, n: rng.lognormal(7, 1.2, n),
    "exponential": lambda rng, n: rng.exponential(1500, n),
    "Pareto, with a long tail": lambda rng, n: 100 * (1 + rng.pareto(1.1, n)),
    "uniform from 0": lambda rng, n: rng.uniform(0, 60_000, n),
    "two humps far apart": lambda rng, n: np.where(
        rng.random(n) < 0.6, rng.normal(400, 20, n), rng.normal(90_000, 500, n)
    ),
    "all the same": lambda rng, n: np.full(n, 777.0),
}


def sketch_of(values: Numbers) -> Sketch:
    sketch = Sketch()
    for value in values.tolist():
        sketch.add(value)
    return sketch


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_quantiles_of_merged_hours_are_those_of_numpy_within_two_percent(name: str) -> None:
    rng = np.random.default_rng()
    hours = [
        np.minimum(DISTRIBUTIONS[name](rng, int(rng.integers(1, 400))), 2**31 - 1).astype(np.int64)
        for _ in range(HOURS)
    ]
    day = Sketch()
    for hour in hours:
        # By way of what is stored.
        stored = json.dumps(sketch_of(hour).to_json())
        day.merge_json(json.loads(stored))
    values = np.concatenate(hours)
    assert len(day) == len(values)
    assert day.quantiles(*SHARES) == pytest.approx(np.quantile(values, SHARES).tolist(), rel=0.02)


@pytest.mark.parametrize("value", [1, 2, 50, 999, 123_456, 2**31 - 1])
def test_a_value_is_at_most_one_percent_off(value: int) -> None:
    (found,) = sketch_of(np.array([value])).quantiles(0.5)
    assert found == pytest.approx(value, rel=ACCURACY + 1e-9)


def test_zero_is_zero() -> None:
    assert sketch_of(np.array([0, 0, 0, 8])).quantiles(0, 0.5) == [0, 0]


def test_of_no_values_there_is_no_quantile() -> None:
    assert Sketch().quantiles(0.5, 0.99) == [None, None]


def test_it_stays_small_whatever_it_is_given() -> None:
    sketch = sketch_of(np.geomspace(1, 2**31 - 1, 20_000).astype(np.int64))
    assert len(sketch) == 20_000
    assert len(sketch.to_json()) <= 1075


def test_two_sketches_together_are_one_of_all_the_values() -> None:
    one, other = sketch_of(np.arange(500)), sketch_of(np.arange(300, 900))
    one.merge(other)
    assert (
        one.to_json() == sketch_of(np.concatenate([np.arange(500), np.arange(300, 900)])).to_json()
    )


@pytest.mark.parametrize(("count", "least"), [(1, 900), (2, 500), (3, 100), (4, 0)])
def test_it_knows_what_the_greatest_values_reach(count: int, least: int) -> None:
    reached = sketch_of(np.array([100, 500, 900])).reached_by(count)
    assert 0.97 * least <= reached <= least

"""What tokens cost: by the list, by the site's own prices, or unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from observability.prices import cost_usd
from observability.recorder import Usage

from .helpers import STARTED


def usage(model: str = "gpt-5-mini", **tokens: int | None) -> Usage:
    given: dict[str, Any] = {"input_tokens": 1_000_000, "output_tokens": 100_000, **tokens}
    return Usage(model=model, **given)


def test_cached_tokens_are_cheaper_and_part_of_the_input() -> None:
    without = cost_usd(usage(), STARTED)
    some = cost_usd(usage(cached_tokens=400_000), STARTED)
    assert without == Decimal("0.450000")
    # 600,000 at 0.25, 400,000 at 0.025, and 100,000 written at 2.
    assert some == Decimal("0.360000")


def test_a_dated_version_costs_what_its_model_does() -> None:
    assert cost_usd(usage("gpt-5-mini-2099-12-31"), STARTED) == cost_usd(usage(), STARTED)


@pytest.mark.parametrize(
    "unknown",
    [usage("a-model-of-our-own"), usage(""), usage(input_tokens=None), usage(output_tokens=None)],
)
def test_what_is_not_known_costs_an_unknown_sum_and_not_nothing(unknown: Usage) -> None:
    assert cost_usd(unknown, STARTED) is None


def test_a_sites_own_price_counts_first(settings: Any) -> None:
    settings.OBSERVABILITY_PRICES = {
        "gpt-5-mini": {"input": 1, "output": "2.5", "cached": 0.1},
        "a-model-of-our-own": {"input": 1, "output": 0},
    }
    assert cost_usd(usage(cached_tokens=500_000), STARTED) == Decimal("0.800000")
    assert cost_usd(usage("a-model-of-our-own", cached_tokens=9), STARTED) == Decimal(1)
    assert cost_usd(usage("gpt-5"), STARTED) is not None

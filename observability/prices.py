"""What the tokens of a turn cost, in USD: by the site's own prices, else by those of genai-prices.

An unknown model has an unknown cost. Prices are those of the day on which the turn started.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from .conf import conf
from .recorder import Usage

MILLION = Decimal(1_000_000)
CENT_PARTS = Decimal("0.000001")
"""What the column keeps."""

_DATED = re.compile(r"-\d{4}-\d\d-\d\d$", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Price:
    """A site's own price of a model, in USD per million tokens."""

    input: Decimal
    output: Decimal
    cached: Decimal

    @classmethod
    def of(cls, given: dict[str, Any]) -> Price:
        """From a setting; cached tokens cost what others do unless it says otherwise."""
        price = {name: Decimal(str(value)) for name, value in given.items()}
        return cls(
            input=price["input"], output=price["output"], cached=price.get("cached", price["input"])
        )


def cost_usd(usage: Usage, at: datetime) -> Decimal | None:
    """The cost of these tokens, to a millionth of a dollar; None where it isn't known.

    The input tokens include the cached ones, which are cheaper:
    ``(input - cached) * p + cached * pc + output * q``.
    """
    if not usage.model or usage.input_tokens is None or usage.output_tokens is None:
        return None
    own = conf().observability_prices.get(usage.model)
    cost = _own_cost(usage, Price.of(own)) if own is not None else _listed_cost(usage, at)
    return None if cost is None else cost.quantize(CENT_PARTS)


def _own_cost(usage: Usage, price: Price) -> Decimal:
    cached = usage.cached_tokens or 0
    fresh = (usage.input_tokens or 0) - cached
    output = usage.output_tokens or 0
    return (fresh * price.input + cached * price.cached + output * price.output) / MILLION


def _listed_cost(usage: Usage, at: datetime) -> Decimal | None:
    tokens = PricedUsage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_tokens or 0,
        output_tokens=usage.output_tokens,
    )
    # A version by its date costs what its model does, where it isn't listed itself.
    for model in dict.fromkeys((usage.model, _DATED.sub("", usage.model))):
        try:
            return calc_price(tokens, model, genai_request_timestamp=at).total_price
        except LookupError:
            continue
    return None

"""Write what models are charged as people and pages read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from addons.openai.pricing.prices import Missing, Prices
from addons.openai.pricing.rates import Rate, TieredPrices

Called = tuple[str, int, int]
"""A model, its calls, and how many of those have no price."""


def rate_text(rate: Rate) -> str:
    """Give the dollars as a decimal; with the steps where it depends on the input."""
    if not isinstance(rate, TieredPrices):
        return f"{rate:f}"
    steps = ", ".join(f"{tier.price:f} above {tier.start} input tokens" for tier in rate.tiers)
    return f"{rate.base:f} ({steps})"


def list_prices(
    prices: Prices, models: Iterable[Called], *, at: datetime, host: str, tier: str | None = None
) -> Iterator[Mapping[str, Any]]:
    """Give a row for each model: its rates in dollars by key, and where they are from, or why there are none.

    `state` is `priced`, `priced since` where calls from before have no price, or the reason (docs/cost.md).
    """
    for model, calls, unpriced in models:
        found = prices.find(model, at=at, tier=tier, host=host)
        row: dict[str, Any] = {"model": model, "calls": calls, "unpriced": unpriced}
        if isinstance(found, Missing):
            row |= {
                "state": found.code,
                "reason": found.text,
                "provider": None,
                "price_source": None,
                "rates": {},
            }
        else:
            state = "priced since" if unpriced else "priced"
            rates = {key: rate_text(rate) for key, rate in sorted(found.rates.items())}
            row |= {"state": state, "reason": None, "provider": found.provider, "price_source": found.source}
            row["rates"] = rates
        yield row

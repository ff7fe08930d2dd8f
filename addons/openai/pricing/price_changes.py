"""Compare two sets of prices, model by model, before the newer one is put into force."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from addons.openai.pricing.prices import Found, Prices
from addons.openai.pricing.rates import Rate, TieredPrices


@dataclass(frozen=True, slots=True)
class Change:
    """Holds one price of one model that is another in the newer list."""

    provider: str
    model: str
    price: str
    before: Decimal
    after: Decimal

    @property
    def factor(self) -> Decimal:
        """Give by how much the larger of the two exceeds the smaller; infinite where one of them is zero."""
        low, high = sorted((self.before, self.after))
        return high / low if low else Decimal("Infinity")

    def as_json(self) -> dict[str, Any]:
        shown = {name: getattr(self, name) for name in ("provider", "model", "price")}
        return {**shown, "before": f"{self.before:f}", "after": f"{self.after:f}"}


@dataclass(slots=True)
class Comparison:
    """Says what a newer list changes."""

    models: int = 0
    new: list[tuple[str, str]] = field(default_factory=list)
    """Provider and model of those that had no price before."""
    changes: list[Change] = field(default_factory=list)


def compare(before: Prices, content: str, after: Prices, *, at: datetime) -> Comparison:
    """Compare the standard prices at a time, for each model that the list `content` (normalised) names."""
    found = Comparison()
    for provider, model in _models(content):
        found.models += 1
        old = before.find_of(provider, model, at=at, tier=None)
        new = after.find_of(provider, model, at=at, tier=None)
        if not isinstance(new, Found):
            continue
        if not isinstance(old, Found):
            found.new.append((provider, model))
            continue
        for price in sorted(old.rates.keys() & new.rates.keys()):
            was, becomes = _base(old.rates[price]), _base(new.rates[price])
            if was != becomes:
                found.changes.append(Change(provider, model, price, was, becomes))
    return found


def _models(content: str) -> Iterator[tuple[str, str]]:
    for provider in json.loads(content):
        for model in provider["models"]:
            yield provider["id"], model["id"]


def _base(rate: Rate) -> Decimal:
    return rate.base if isinstance(rate, TieredPrices) else rate

"""Costs: parts are priced apart and never twice, and what has no price has a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from addons.openai import pricing

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def usage(given: int, written: int, **details: Any) -> dict[str, Any]:
    return {"input_tokens": given, "output_tokens": written, **details}


def usd(model: str, used: dict[str, Any], **context: Any) -> Decimal:
    cost = pricing.price(model, used, at=NOW, **context)
    assert cost.usd is not None, cost.missing
    return cost.usd


def test_published_prices() -> None:
    """gpt-4o-mini: $0.15 and $0.60 for a million tokens; half for cached input."""
    assert usd("gpt-4o-mini", usage(1_000_000, 0)) == Decimal("0.15")
    assert usd("gpt-4o-mini", usage(0, 1_000_000)) == Decimal("0.6")
    cached = usage(1_000_000, 0, input_tokens_details={"cached_tokens": 400_000})
    assert usd("gpt-4o-mini", cached) == Decimal("0.12")
    assert usd("text-embedding-3-small", usage(1_000_000, 0)) == Decimal("0.02")


@pytest.mark.parametrize("name", ["gpt-4o-mini-2024-07-18", "GPT-4o-mini", "gpt-4o-mini-2031-01-01"])
def test_names(name: str) -> None:
    assert usd(name, usage(1_000_000, 0)) == Decimal("0.15")


def test_reasoning_is_part_of_the_output() -> None:
    plain = usd("o4-mini", usage(10, 1000))
    assert usd("o4-mini", usage(10, 1000, output_tokens_details={"reasoning_tokens": 900})) == plain


def test_tiers() -> None:
    standard = usd("gpt-5", usage(1000, 1000))
    for tier in ("default", "auto", None):
        assert usd("gpt-5", usage(1000, 1000), service_tier=tier) == standard
    flex = pricing.price("gpt-5", usage(1000, 1000), at=NOW, service_tier="flex")
    if flex.usd is None:
        # The last release for Python 3.11 knows no tiers; then there is a reason in place of a price.
        assert "does not know prices by service_tier" in str(flex.missing)
    else:
        assert flex.usd == standard / 2
        assert usd("gpt-5", usage(1000, 1000), service_tier="priority") == standard * 2
        assert usd("gpt-4o", usage(1000, 1000), batch=True) == usd("gpt-4o", usage(1000, 1000)) / 2


def test_prices_by_date() -> None:
    """o3 became cheaper in June 2025."""
    before = pricing.price("o3", usage(1_000_000, 0), at=datetime(2025, 5, 1, tzinfo=UTC))
    after = pricing.price("o3", usage(1_000_000, 0), at=datetime(2025, 7, 1, tzinfo=UTC))
    assert (before.usd, after.usd) == (10, 2)


@pytest.mark.parametrize(
    ("model", "used", "reason"),
    [
        ("a-model-of-ours", usage(1, 1), "no price is known for 'a-model-of-ours'"),
        ("ft:gpt-4o:acme::x", usage(1, 1), "no price is known for 'ft:gpt-4o:acme::x'"),
        (None, usage(1, 1), "the model is not known"),
        ("gpt-4o", {"input_tokens": None, "output_tokens": None, "seconds": 3}, "no tokens are known"),
    ],
)
def test_no_price_is_null_with_the_reason(model: str | None, used: dict[str, Any], reason: str) -> None:
    cost = pricing.price(model, used, at=NOW)
    assert (cost.usd, cost.missing) == (None, reason)
    assert cost.as_dict()["usd"] is None


def test_details_that_are_larger_than_the_whole_are_not_priced() -> None:
    cost = pricing.price("gpt-4o", usage(10, 1, input_tokens_details={"cached_tokens": 500}), at=NOW)
    assert cost.usd is None
    assert str(cost.missing).startswith("the usage is not priced")


def test_the_amount_is_exact_text() -> None:
    shown = pricing.price("gpt-4o-mini", usage(1, 0), at=NOW).as_dict()
    assert shown["usd"] == "0.00000015"
    assert shown["price_source"].startswith("genai-prices/")

"""What a call costs at most."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest

from addons.openai.bounds.media_bounds import TRANSCRIPTION_MODELS
from addons.openai.bounds.upper_price import nano_usd, of_models
from addons.openai.bounds.usage_bound import UsageBound
from addons.openai.pricing.bill import Unpriced
from addons.openai.pricing.pricing import Call, price

# The last release for Python 3.11 knows no tiers, and fewer models.
OLD = "price_context" not in inspect.signature(genai_prices.calc_price).parameters
needs_new_prices = pytest.mark.skipif(OLD, reason="this release of genai-prices knows fewer prices")
NOW = datetime(2026, 11, 25, tzinfo=UTC)
HERE = Call(None, NOW, host="api.openai.com")


def dollars(most: UsageBound, call: Call = HERE) -> Decimal:
    return Decimal(nano_usd(most, call)) / 10**9


def test_tokens() -> None:
    most = UsageBound("gpt-4o", input_tokens=1_000_000, output_tokens=1_000_000)
    assert dollars(most) == Decimal("2.5") + 10


def test_rounded_up() -> None:
    assert nano_usd(UsageBound("gpt-4o-mini", input_tokens=1), HERE) == 150
    assert nano_usd(UsageBound("gpt-5-nano", input_tokens=1), HERE) == 50


@needs_new_prices
@pytest.mark.parametrize(("tier", "cost"), [(None, "1.25"), ("flex", "1.25"), ("priority", "2.5")])
def test_the_tier_that_is_asked_for(tier: str | None, cost: str) -> None:
    assert dollars(UsageBound("gpt-5", input_tokens=1_000_000, tier=tier)) == Decimal(cost)


@needs_new_prices
def test_writing_to_the_cache_is_dearer_than_not() -> None:
    plain = price(Call("gpt-5.6-sol", NOW), {"input_tokens": 10_000, "output_tokens": 0})
    assert plain.usd is not None
    assert dollars(UsageBound("gpt-5.6-sol", input_tokens=10_000)) == plain.usd * Decimal("1.25")


def test_a_long_context_may_be_reached() -> None:
    least = dollars(UsageBound("gpt-5.4", input_tokens=272_000))
    assert dollars(UsageBound("gpt-5.4", input_tokens=300_000)) > 2 * least


@needs_new_prices
def test_sound_is_the_dearest() -> None:
    text = dollars(UsageBound("gpt-audio", input_tokens=1000, output_tokens=1000))
    given = dollars(UsageBound("gpt-audio", input_tokens=1000, output_tokens=1000, given={"audio"}))
    both = dollars(
        UsageBound("gpt-audio", input_tokens=1000, output_tokens=1000, given={"audio"}, made={"audio"})
    )
    assert text < given < both


def test_tools() -> None:
    most = UsageBound("gpt-5", input_tokens=1, hosted={"web_search_calls": 2, "file_search_calls": 4})
    assert dollars(most) >= 2 * Decimal("0.01") + 4 * Decimal("0.0025")
    small = UsageBound("gpt-5", input_tokens=1, hosted={"containers": 1})
    unknown = UsageBound("gpt-5", input_tokens=1, hosted={"containers": 1}, memory="")
    assert dollars(small) < Decimal("0.031") < Decimal("1.9") < dollars(unknown)


def test_pictures_sound_and_speech() -> None:
    assert dollars(UsageBound("dall-e-3", images=2)) == Decimal("0.24")
    assert dollars(UsageBound("whisper-1", seconds=3600)) == Decimal("0.36")
    assert dollars(UsageBound("tts-1", characters=1_000_000, input_tokens=9)) == Decimal(15)
    upload = UsageBound(None, 16_000, 2_000, seconds=34_953, given={"audio"})
    assert of_models(upload, TRANSCRIPTION_MODELS, HERE) > 3 * 10**9


def test_a_region_is_dearer() -> None:
    most = UsageBound("gpt-5.4", input_tokens=1000)
    assert dollars(most, Call(None, NOW, host="eu.api.openai.com")) == dollars(most) * Decimal("1.1")


def test_nothing_costs_nothing() -> None:
    assert nano_usd(UsageBound(), HERE) == 0


@pytest.mark.parametrize(
    ("most", "code"),
    [
        (UsageBound("no-such-model", input_tokens=1), "model_unknown"),
        (UsageBound(None, input_tokens=1), "model_unknown"),
        (UsageBound("gpt-4o", input_tokens=1, tier="turbo"), "tier_unknown"),
        (UsageBound("gpt-4o", unbounded="because"), "unbounded"),
        (UsageBound("gpt-image-1", images=1), "unit_unknown"),
    ],
)
def test_no_price(most: UsageBound, code: str) -> None:
    with pytest.raises(Unpriced) as caught:
        nano_usd(most, HERE)
    assert caught.value.code == code


@pytest.mark.parametrize("usage", [{"input_tokens": 1234, "output_tokens": 567}])
@pytest.mark.parametrize(
    "model",
    [
        *("gpt-4o-mini", "gpt-5", "o3", "gpt-4.1"),
        pytest.param("gpt-5.6-sol", marks=needs_new_prices),
        pytest.param("gpt-audio", marks=needs_new_prices),
    ],
)
def test_never_less_than_the_price(model: str, usage: dict[str, Any]) -> None:
    paid = price(Call(model, NOW, host="api.openai.com"), usage).usd
    assert paid is not None
    assert dollars(UsageBound(model, **usage)) >= paid

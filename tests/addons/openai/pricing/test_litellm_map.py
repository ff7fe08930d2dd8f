"""LiteLLM's model map as a price list."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

from addons.openai.pricing import price_file
from addons.openai.pricing.litellm_map import convert, is_model_map
from addons.openai.pricing.prices import Found, Prices
from addons.openai.pricing.rates import TieredPrices

NOW = datetime(2026, 11, 29, tzinfo=UTC)
MAP = {
    "sample_spec": {"litellm_provider": "one of many", "input_cost_per_token": 0},
    "gpt-next": {
        "litellm_provider": "openai",
        "input_cost_per_token": 2e-06,
        "cache_read_input_token_cost": 2e-07,
        "output_cost_per_token": 8e-06,
        "input_cost_per_token_flex": 1e-06,
        "input_cost_per_token_batches": 1e-06,
        "input_cost_per_token_above_272k_tokens": 4e-06,
        "max_tokens": 100,
    },
    "whisper-next": {"litellm_provider": "openai", "input_cost_per_second": 0.0001},
    "azure/gpt-next": {"litellm_provider": "azure", "input_cost_per_token": 3e-06},
    "azure/eu/gpt-next": {"litellm_provider": "azure", "input_cost_per_token": 3.3e-06},
    "1024-x-1024/picture": {"litellm_provider": "openai", "input_cost_per_pixel": 1e-8},
    "claude": {"litellm_provider": "bedrock", "input_cost_per_token": 1},
    "odd": {"litellm_provider": "openai", "input_cost_per_token": "much"},
}


def prices() -> Prices:
    return Prices().with_list(price_file.parse(price_file.normalise(json.dumps(MAP))[0], "prices/map"))


def found(model: str, tier: str | None = None, host: str = "api.openai.com") -> Found:
    answer = prices().find(model, at=NOW, tier=tier, host=host)
    assert isinstance(answer, Found)
    return answer


def test_a_map_is_told_from_a_list_of_providers() -> None:
    assert is_model_map(MAP)
    assert not is_model_map([{"id": "openai", "models": []}])
    assert not is_model_map({"id": "openai", "models": []})


def test_prices_of_a_token_become_those_of_a_million() -> None:
    rates = found("gpt-next").rates
    assert rates["output_mtok"] == Decimal(8)
    assert rates["cache_read_mtok"] == Decimal("0.2")
    tiers = rates["input_mtok"]
    assert isinstance(tiers, TieredPrices)
    assert (tiers.base, tiers.tiers[0].start, tiers.tiers[0].price) == (2, 272_000, 4)
    assert found("gpt-next").source == "prices/map"


def test_tiers_and_batches_are_variants() -> None:
    for tier in ("flex", "batch"):
        assert found("gpt-next", tier).rates["input_mtok"] == Decimal(1)


def test_time_is_priced_by_the_hour() -> None:
    assert found("whisper-next").rates["audio_hours"] == Decimal("0.36")


def test_azure_has_prices_of_its_own_and_regions_are_left_out() -> None:
    assert found("gpt-next", host="x.openai.azure.com").rates["input_mtok"] == Decimal(3)
    assert [provider["id"] for provider in convert(MAP)] == ["openai", "azure"]
    assert [model["id"] for provider in convert(MAP) for model in provider["models"]] == [
        "gpt-next",
        "whisper-next",
        "gpt-next",
    ]

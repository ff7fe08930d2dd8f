"""Convert LiteLLM's model map (``model_prices_and_context_window.json``) into the form of genai-prices' data.

The map has a price per single token, second or character, under one flat name for each; genai-prices has
them per million, hour and so on. Entries of regions, image sizes and unknown providers are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

PROVIDERS = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "azure": "azure",
    "azure_text": "azure",
    "groq": "groq",
    "deepseek": "deepseek",
    "mistral": "mistral",
    "xai": "x-ai",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "cerebras": "cerebras",
}
"""LiteLLM's names of providers, and those of genai-prices."""
MILLION, HOUR = Decimal(10**6), Decimal(3600)
RATES: Mapping[str, tuple[str, Decimal]] = {
    "input_cost_per_token": ("input_mtok", MILLION),
    "output_cost_per_token": ("output_mtok", MILLION),
    "cache_read_input_token_cost": ("cache_read_mtok", MILLION),
    "cache_creation_input_token_cost": ("cache_write_mtok", MILLION),
    "input_cost_per_audio_token": ("input_audio_mtok", MILLION),
    "output_cost_per_audio_token": ("output_audio_mtok", MILLION),
    "cache_read_input_audio_token_cost": ("cache_audio_read_mtok", MILLION),
    "input_cost_per_image_token": ("input_image_mtok", MILLION),
    "output_cost_per_image_token": ("output_image_mtok", MILLION),
    "input_cost_per_character": ("input_mchars", MILLION),
    "input_cost_per_second": ("audio_hours", HOUR),
}
"""The price, and by what its unit is larger here."""
VARIANTS = {
    "_flex": {"service_tier": "flex"},
    "_priority": {"service_tier": "priority"},
    "_batches": {"processing": "batch"},
}
"""Endings of a price's name, and the context in which that price holds."""
ABOVE = re.compile(r"(.+)_above_(\d+)k_tokens")


def is_model_map(value: object) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(entry, Mapping) and "litellm_provider" in entry for entry in value.values()
    )


def convert(models: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Convert the map into a list of providers."""
    by_provider: dict[str, list[dict[str, Any]]] = {}
    for name, entry in models.items():
        if not isinstance(entry, Mapping) or name == "sample_spec":
            continue
        provider = PROVIDERS.get(str(entry.get("litellm_provider")))
        short = name.partition("/")[2] if name.startswith(f"{entry.get('litellm_provider')}/") else name
        if provider is None or (provider in ("openai", "azure") and "/" in short):
            continue
        if (model := _model(short, entry)) is not None:
            by_provider.setdefault(provider, []).append(model)
    return [{"id": provider, "models": found} for provider, found in by_provider.items()]


def _model(name: str, entry: Mapping[str, Any]) -> dict[str, Any] | None:
    prices = dict(_rates(entry, ""))
    if not prices:
        return None
    model: dict[str, Any] = {"id": name, "match": {"equals": name.lower()}, "prices": prices}
    variants = [
        {"when": when, "prices": rates}
        for ending, when in VARIANTS.items()
        if (rates := dict(_rates(entry, ending)))
    ]
    return model | ({"price_variants": variants} if variants else {})


def _rates(entry: Mapping[str, Any], ending: str) -> Iterator[tuple[str, Any]]:
    """Yield the prices whose names end like this, each with its steps for long inputs."""
    steps: dict[str, list[dict[str, Any]]] = {}
    for name, value in entry.items():
        above = ABOVE.fullmatch(name.removesuffix(ending)) if name.endswith(ending) else None
        rate = _rate(above[1], value) if above else None
        if above and rate is not None:
            steps.setdefault(above[1], []).append({"start": int(above[2]) * 1000, "price": rate})
    for name, (key, _) in RATES.items():
        rate = _rate(name, entry.get(f"{name}{ending}"))
        if rate is not None:
            tiers = sorted(steps.get(name, ()), key=lambda step: step["start"])
            yield key, {"base": rate, "tiers": tiers} if tiers else rate


def _rate(name: str, value: object) -> str | None:
    """Give a price in the unit of genai-prices, as text; None for what is none."""
    if name not in RATES or isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value)) * RATES[name][1]
    except InvalidOperation:
        return None
    return f"{number.normalize():f}" if number.is_finite() and number >= 0 else None

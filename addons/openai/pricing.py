"""What a call cost, by the prices of genai-prices: by model, tier and date, kept up to date elsewhere.

A cost that cannot be told is null, with the reason; it is never zero.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import genai_prices

from addons.openai.vocabulary import normalise

STANDARD_TIERS = (None, "default", "auto", "standard")
AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{4})$")

# Detail key of the API -> unit of genai-prices. Versions for Python 3.11 know fewer units.
INPUT_UNITS = {
    "cached_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "audio_tokens": "input_audio_tokens",
    "image_tokens": "input_image_tokens",
}
OUTPUT_UNITS = {"audio_tokens": "output_audio_tokens", "image_tokens": "output_image_tokens"}


@dataclass(frozen=True, slots=True)
class Cost:
    """A price in US dollars, or why there is none."""

    usd: Decimal | None
    source: str
    missing: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The event's `cost`; the amount is a decimal as text, which no JSON parser rounds."""
        shown: dict[str, Any] = {
            "usd": None if self.usd is None else format(self.usd.normalize(), "f"),
            "price_source": self.source,
        }
        if self.missing:
            shown["missing"] = self.missing
        return shown


@lru_cache(maxsize=1)
def _source() -> str:
    return f"genai-prices/{version('genai-prices')}"


@lru_cache(maxsize=1)
def _has_context() -> bool:
    return "price_context" in inspect.signature(genai_prices.calc_price).parameters


def price(
    model: str | None,
    usage: Mapping[str, Any],
    *,
    at: datetime,
    service_tier: str | None = None,
    host: str = "",
    batch: bool = False,
) -> Cost:
    """The cost of `usage` (canonical, as in the event) by the prices that held `at` that time."""

    def unknown(reason: str) -> Cost:
        return Cost(None, _source(), reason)

    if not model:
        return unknown("the model is not known")
    context = {} if service_tier in STANDARD_TIERS else {"service_tier": service_tier}
    if batch:
        context = {"processing": "batch"}
    if context and not _has_context():
        return unknown(f"{_source()} does not know prices by {next(iter(context))}")
    if usage.get("input_tokens") is None and usage.get("output_tokens") is None:
        return unknown("no tokens are known")
    try:
        units = genai_prices.Usage(**_units(usage))
    except (TypeError, ValueError) as error:
        return unknown(f"the usage is not priced: {error}")
    for provider in ("azure", "openai") if host.endswith(AZURE_HOSTS) else ("openai",):
        for name in _names(model):
            try:
                priced = genai_prices.calc_price(
                    units,
                    name,
                    provider_id=provider,
                    genai_request_timestamp=at,
                    **({"price_context": context} if context else {}),
                )
            except LookupError:
                continue
            except ValueError as error:
                return unknown(f"the usage is not priced: {error}")
            return Cost(priced.total_price, _source())
    return unknown(f"no price is known for {model!r}")


def _names(model: str) -> list[str]:
    """The name as it is, its base model, and that without its date."""
    base = normalise(model)
    if model.lower().startswith("ft:"):
        return [model]  # fine-tuned models have rates of their own
    return list(dict.fromkeys((model, base, DATE.sub("", base))))


def _units(usage: Mapping[str, Any]) -> dict[str, int]:
    units = {
        "input_tokens": usage.get("input_tokens") or 0,
        "output_tokens": usage.get("output_tokens") or 0,
    }
    for side, names in (("input_tokens_details", INPUT_UNITS), ("output_tokens_details", OUTPUT_UNITS)):
        details = usage.get(side) or {}
        for key, unit in names.items():
            if isinstance(details.get(key), int) and details[key] and unit in _known_units():
                units[unit] = details[key]
    return units


@lru_cache(maxsize=1)
def _known_units() -> frozenset[str]:
    parameters = inspect.signature(genai_prices.Usage).parameters
    if "kwargs" in parameters:
        return frozenset((*INPUT_UNITS.values(), *OUTPUT_UNITS.values()))
    return frozenset(parameters)

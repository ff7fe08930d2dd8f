"""Price what has rules of its own: long-kept cache writes, decisions, background work, Azure's router.

Each has its source beside it; the figures are in :mod:`.price_table`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from addons.openai.pricing import price_table
from addons.openai.pricing.bill import CACHE_1H, CACHE_12H, MILLION, Line
from addons.openai.pricing.prices import AZURE, OPENAI, Found
from addons.openai.pricing.rates import Rate, Rates, Tier, TieredPrices

KNOWN_RETENTIONS = frozenset({"ttl_5m_tokens", "ttl_30m_tokens", "ttl_1h_tokens", "ttl_12h_tokens"})
DEARER = {"ttl_12h_tokens": CACHE_12H, "ttl_1h_tokens": CACHE_1H}
"""Prices of what is kept for longer than a provider's shortest time."""
BESIDE = frozenset(
    (
        *("num_sources_used", "num_search_queries", "citation_tokens", "search_units"),
        *("server_tool_use", "server_tool_use_details", "server_side_tool_usage_details", "plugin_usage"),
    )
)
"""It is what servers report in a usage and bill beside its tokens: x.ai, Perplexity, Cohere, Anthropic."""
MOST_NAMED = 5

Json = Mapping[str, Any]


def with_long_cache_writes(found: Found) -> Rates:
    """Give the rates, with that of tokens written to the cache for 12 hours, where OpenAI sells them."""
    write = found.rates.get("cache_write_mtok")
    if write is None or CACHE_12H in found.rates or found.own or found.provider not in (OPENAI, AZURE):
        return found.rates
    return {**found.rates, CACHE_12H: _times(write, price_table.CACHE_WRITE_12H)}


def _times(rate: Rate, factor: Decimal) -> Rate:
    if isinstance(rate, Decimal):
        return rate * factor
    return TieredPrices(rate.base * factor, [Tier(tier.start, tier.price * factor) for tier in rate.tiers])


def unpriced_retentions(usage: Json, rates: Rates) -> Iterator[str]:
    """Give what of the tokens written to the cache is priced as if it were kept for 30 minutes."""
    details = usage.get("input_tokens_details")
    kept = details.get("cache_write_tokens_details") if isinstance(details, Mapping) else None
    for name, count in kept.items() if isinstance(kept, Mapping) else ():
        if count and (name not in KNOWN_RETENTIONS or DEARER.get(name, "input_mtok") not in rates):
            yield f"what {count} tokens cost more that were written to the cache ({name})"


def unpriced_beside(usage: Json) -> Iterator[str]:
    """Give what a server says that it billed beside the tokens, without saying what that cost."""
    other = usage.get("other")
    for name, held in other.items() if isinstance(other, Mapping) else ():
        parts = held if isinstance(held, Mapping) else {name: held}
        if name not in BESIDE:
            continue
        ran = [(part, count) for part, count in parts.items() if isinstance(count, int | float) and count > 0]
        yield from (f"what {count} {str(part)[:40]} cost" for part, count in ran[:MOST_NAMED])


def with_least_seconds(usage: Json, found: Found) -> Json:
    """Give the usage with the length of sound that is billed at least, unless the operator states a price."""
    least = price_table.LEAST_SECONDS.get(found.provider)
    seconds = usage.get("seconds")
    short = least is not None and isinstance(seconds, int | float) and 0 < seconds < least
    return {**usage, "seconds": least} if short and not found.own else usage


def is_decision(path: str) -> bool:
    return path.partition("?")[0].rstrip("/").endswith("/decisions")


def unpriced_decision(usage: Json) -> Iterator[str]:
    """Give what of a decision has no price that is sure: lists differ on what cached input costs."""
    details = usage.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    if cached:
        yield f"what {cached} cached tokens cost, if anything"


def decision(rates: Rates) -> Rates:
    """Give the rates of a decision: its input has a price, output and cache are free.

    Source: https://developers.openai.com/api/docs/guides/decisions
    """
    free: dict[str, Rate] = {"output_mtok": Decimal(0), "cache_read_mtok": Decimal(0)}
    return {"input_mtok": rates["input_mtok"], **free} if "input_mtok" in rates else {}


def router_fee(usage: Json, tools: Json) -> list[Line]:
    """Give Azure's fee for choosing the model, beside what that costs."""
    given = usage.get("input_tokens")
    if not tools.get("model_router_calls") or not isinstance(given, int):
        return []
    return [Line("model router", Decimal(given), price_table.MODEL_ROUTER_MTOK, MILLION)]

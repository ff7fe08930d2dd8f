"""What a server itself says that a call cost. It knows its discounts and routes; a price list does not."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

SOURCE = "api"

# Servers whose `usage.cost` is in US dollars, by the end of their host.
# OpenRouter: a credit is a dollar (https://openrouter.ai/docs/use-cases/usage-accounting).
IN_DOLLARS = ("openrouter.ai", "ai-gateway.vercel.sh", "avian.io", "perplexity.ai")
TICKS_PER_DOLLAR = Decimal(10**10)
"""Of x.ai's `cost_in_usd_ticks`."""

Json = Mapping[str, Any]


def reported_cost(usage: Json, host: str) -> Decimal | None:
    """The cost in US dollars that the usage states; None where it states none that can be trusted.

    OpenRouter's own shape (`cost` with `cost_details` or `is_byok`) is taken from any gateway. Calls with the
    caller's own key at the provider cost what OpenRouter takes and what the provider takes.
    """
    raw = _raw(usage)
    if _is(host, "x.ai"):
        ticks = _dollars(raw.get("cost_in_usd_ticks"))
        return None if ticks is None else ticks / TICKS_PER_DOLLAR
    cost = raw.get("cost")
    if isinstance(cost, Mapping):
        known = _is(host, *IN_DOLLARS) and cost.get("currency", "USD") == "USD"
        return _dollars(cost.get("total_cost")) if known else None
    if not _is(host, *IN_DOLLARS) and not raw.keys() & {"cost_details", "is_byok"}:
        return None
    dollars = _dollars(cost)
    if dollars is not None and raw.get("is_byok") is True and _is(host, "openrouter.ai"):
        details = raw.get("cost_details")
        upstream = _dollars(details.get("upstream_inference_cost")) if isinstance(details, Mapping) else None
        return None if upstream is None else dollars + upstream
    return dollars


def _raw(usage: Json) -> Json:
    """The usage as the server wrote it."""
    for name in ("raw", "other"):
        if isinstance(found := usage.get(name), Mapping):
            return found
    return {}


def _is(host: str, *names: str) -> bool:
    return any(host == name or host.endswith(f".{name}") for name in names)


def _dollars(value: object) -> Decimal | None:
    """Through its text, which is what the server wrote: a float is never added or multiplied."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = Decimal(repr(value))
    return number if number.is_finite() and number >= 0 else None

"""Read what a server itself says that a call cost: it knows its discounts and routes, no price list does."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

SOURCE = "api"

# Servers whose `usage.cost` is in US dollars, by the end of their host.
# OpenRouter: a credit is a dollar (https://openrouter.ai/docs/use-cases/usage-accounting).
IN_DOLLARS = ("openrouter.ai", "ai-gateway.vercel.sh", "avian.io", "perplexity.ai")
ESTIMATE = "estimated_cost"
"""DeepInfra's name of it, in dollars too (https://deepinfra.com/docs/openai_api)."""
ESTIMATES = ("deepinfra.com",)
TICKS_PER_DOLLAR = Decimal(10**10)
"""It is that of x.ai's `cost_in_usd_ticks`."""

Json = Mapping[str, Any]


def reported_cost(usage: Json, host: str) -> Decimal | None:
    """Give the cost in US dollars that the usage states; None where it states none that can be trusted.

    OpenRouter's own shape (`cost` with `cost_details` or `is_byok`) is taken from any gateway. Calls with the
    caller's own key at the provider cost what OpenRouter takes and what the provider takes.
    """
    raw = _raw(usage)
    if _is(host, "x.ai"):
        ticks = _dollars(raw.get("cost_in_usd_ticks"))
        return None if ticks is None else ticks / TICKS_PER_DOLLAR
    if _is(host, *ESTIMATES):
        return _dollars(raw.get(ESTIMATE))
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
    """Give the usage as the server wrote it."""
    for name in ("raw", "other"):
        if isinstance(found := usage.get(name), Mapping):
            return found
    return {}


def _is(host: str, *names: str) -> bool:
    return any(host == name or host.endswith(f".{name}") for name in names)


def _dollars(value: object) -> Decimal | None:
    """Read dollars through their text, as the server wrote it: a float is never added or multiplied."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(value if isinstance(value, str) else repr(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number >= 0 else None

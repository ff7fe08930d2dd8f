"""Price a call by its event alone, so that the proxy, `import` and `reprice` say the same."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from addons.openai.pricing import price_file, pricing
from addons.openai.pricing.price_file import BadPrices
from addons.openai.pricing.prices import Prices
from addons.openai.pricing.pricing import BUNDLED, LOWER_BOUND, Call, price
from store.core.event import Cost, Usage, UsageEvent
from store.core.event_fields import to_fields

__all__ = ["BUNDLED", "BadPrices", "Prices", "bill_of", "cost_of", "cost_of_parts", "read_prices"]


def cost_of(event: UsageEvent, prices: Prices = BUNDLED) -> Cost | None:
    """Price an event; None where its usage is unknown. Raises ValueError for a time that is none."""
    found = _price(event, prices)
    return None if found is None else Cost(**found.as_dict())


def bill_of(event: UsageEvent, prices: Prices = BUNDLED) -> dict[str, Any] | None:
    """Work out an event's cost line by line, as JSON; None where its usage is unknown."""
    found = _price(event, prices)
    return None if found is None else {**found.as_dict(), "lines": [line.as_dict() for line in found.lines]}


def _price(event: UsageEvent, prices: Prices) -> pricing.Cost | None:
    if event.usage is None:
        return None
    moment = datetime.fromisoformat(str(event.timestamp))
    call = Call(
        event.model or None,
        moment if moment.tzinfo else moment.replace(tzinfo=UTC),
        service_tier=event.service_tier or None,
        service_tier_requested=event.service_tier_requested or None,
        host=event.host or "",
        path=event.path or "",
        summed=_is_sum(event),
    )
    return price(call, to_fields(event.usage), hosted_tools=event.hosted_tools, prices=prices)


def _is_sum(event: UsageEvent) -> bool:
    """Tell whether the usage is what a batch as a whole says, not the lines of its output."""
    shown = event.usage_of
    return shown is not None and shown.kind == "batch" and shown.lines is UNSET


def cost_of_parts(
    event: UsageEvent, parts: Iterable[tuple[str | None, Usage]], prices: Prices = BUNDLED
) -> Cost | None:
    """Price usages each by itself, given with their models, and sum them; None of none at all."""
    costs = [cost_of(replace(event, model=model, usage=usage), prices) for model, usage in parts]
    known = [(cost, Decimal(cost.usd)) for cost in costs if cost and cost.usd is not None]
    if not known:
        return next((cost for cost in costs if cost), None)
    usd = sum((amount for _, amount in known), Decimal(0))
    source = "+".join(dict.fromkeys(str(cost.price_source) for cost, _ in known))
    total = Cost(format(usd.normalize(), "f"), source)
    why = next((cost.missing for cost in costs if cost and cost.missing is not UNSET), None)
    if why is not None:
        left_out = why.removeprefix("a lower bound; missing: ")
        total.missing, total.reason = f"a lower bound; missing: {left_out}", LOWER_BOUND
    return total


def read_prices(path: Path) -> Prices:
    """Read the prices of an operator's file.

    Raises BadPrices, which names the file, the place and the remedy.
    """
    try:
        return price_file.parse(path.expanduser().read_text("utf-8"), path.name)
    except OSError as error:
        raise BadPrices(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadPrices(f"{path}: byte {error.start}: not UTF-8") from error
    except BadPrices as error:
        raise BadPrices(f"{path}: {error}") from error

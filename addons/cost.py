"""What a call cost, told from its event alone, so that the proxy, `import` and `reprice` say the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from addons.openai import price_file
from addons.openai.price_file import BadPrices
from addons.openai.prices import Prices
from addons.openai.pricing import BUNDLED, LOWER_BOUND, Call, price

__all__ = ["BUNDLED", "BadPrices", "Prices", "cost_of", "cost_of_parts", "read_prices"]


def cost_of(event: Mapping[str, Any], prices: Prices = BUNDLED) -> dict[str, Any] | None:
    """The `cost` of an event; None where its usage is unknown. Raises ValueError for a time that is none."""
    usage = event.get("usage")
    if not isinstance(usage, Mapping):
        return None
    moment = datetime.fromisoformat(str(event.get("timestamp")))
    tools = event.get("hosted_tools")
    call = Call(
        _text(event.get("model")),
        moment if moment.tzinfo else moment.replace(tzinfo=UTC),
        service_tier=_text(event.get("service_tier")),
        host=_text(event.get("host")) or "",
        path=_text(event.get("path")) or "",
    )
    tools = tools if isinstance(tools, Mapping) else {}
    return price(call, usage, hosted_tools=tools, prices=prices).as_dict()


def cost_of_parts(
    event: Mapping[str, Any], parts: Iterable[tuple[str | None, Mapping[str, Any]]], prices: Prices = BUNDLED
) -> dict[str, Any] | None:
    """The cost of usages that are priced each by itself, given with their models; None of none at all."""
    costs = [cost_of({**event, "model": model, "usage": usage}, prices) for model, usage in parts]
    known = [cost for cost in costs if cost and cost["usd"] is not None]
    if not known:
        return next((cost for cost in costs if cost), None)
    usd = sum((Decimal(cost["usd"]) for cost in known), Decimal(0))
    source = "+".join(dict.fromkeys(str(cost["price_source"]) for cost in known))
    total: dict[str, Any] = {"usd": format(usd.normalize(), "f"), "price_source": source}
    partly = next((cost for cost in costs if cost and "reason" in cost), None)
    if partly is not None:
        why = partly["missing"].removeprefix("a lower bound; missing: ")
        total |= {"missing": f"a lower bound; missing: {why}", "reason": LOWER_BOUND}
    return total


def read_prices(path: Path) -> Prices:
    """The prices of an operator's file. Raises BadPrices, which names the file, the place and the remedy."""
    try:
        return price_file.parse(path.expanduser().read_text("utf-8"), path.name)
    except OSError as error:
        raise BadPrices(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadPrices(f"{path}: byte {error.start}: not UTF-8") from error
    except BadPrices as error:
        raise BadPrices(f"{path}: {error}") from error


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None

"""What a call cost, told from its event alone, so that the proxy, `import` and `reprice` say the same."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from addons.openai import price_file
from addons.openai.price_file import BadPrices
from addons.openai.prices import Prices
from addons.openai.pricing import BUNDLED, Call, price

__all__ = ["BUNDLED", "BadPrices", "Prices", "cost_of", "read_prices"]


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

"""Show what is used of each limit, for people to read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from store.core.times import rfc3339
from store.ledger.account import Gauge
from store.ledger.messages import unit_of
from store.tokens.amounts import USD, number_text


def shown(gauges: Iterable[Gauge], now: float) -> list[dict[str, Any]]:
    """Give a row for each limit. Dollars are decimals, as text; `resets_at` is null for what never resets.

    Where one is of a user, a label and their like, all have a `name`.
    """
    rows, found = [], list(gauges)
    named = any(gauge.name is not None for gauge in found)
    for gauge in found:
        row: dict[str, Any] = {"side": gauge.side}
        if named:
            row["name"] = gauge.name
        row["limit"] = gauge.limit
        for name in ("allowed", "used", "held", "left"):
            row[name] = amount(gauge.limit, getattr(gauge, name))
        rows.append(row | {"resets_at": _resets_at(gauge, now)})
    return rows


def amount(limit: str, number: int) -> str | int:
    """Write a number of the unit that `limit` counts."""
    return number_text(USD, number) if unit_of(limit) == USD else number


def _resets_at(gauge: Gauge, now: float) -> str | None:
    """Give of a period its end; of a rate that is used, when all of it is free again."""
    moment: float | None = gauge.resets_at
    if gauge.by_second is not None and gauge.used:
        moment = now + gauge.room(now).resets_in
    return None if moment is None else rfc3339(datetime.fromtimestamp(moment, UTC))

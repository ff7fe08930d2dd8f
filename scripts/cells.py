"""Write values as a person reads them, each on one line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from store.core.printable import printable

DOLLARS = frozenset(
    (
        *("usd", "before_usd", "saved_usd", "assumed_usd", "was_usd"),
        *("ours", "theirs", "difference"),
        *("allowed", "used", "assumed", "held", "left", "may_exceed_by"),
    )
)
"""Columns of tables with amounts of dollars (some of them with tokens, which are whole numbers)."""
TIMES = frozenset(("since", "oldest"))
"""Columns with times, beside those that end in ``_at``; tables have them without parts of seconds."""
TEXTS = frozenset(
    (
        *("name", "project", "project_name", "token", "token_name", "object", "user", "actor"),
        *("model", "endpoint", "value", "source", "detail", "message", "error", "changes", "change"),
        *("metadata", "token_metadata", "explained_by", "projects", "reason", "state", "what"),
    )
)
"""Columns of tables with texts, which may be shortened; whatever else is in a table is shown whole or not."""
DECIMAL = re.compile(r"-?\d+\.\d+", re.ASCII)


def as_text(value: Any) -> str:
    """Write a value as one line of printable characters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        text = " ".join(f"{key}={text}" for key, text in _flat(value)) or "-"
    elif isinstance(value, list):
        text = " ".join(map(str, value)) or "-"
    else:
        text = str(value)
    return printable(text)  # names and models are what clients write


def short_decimal(value: Any) -> Any:
    """Round an amount to the digits that matter: cents of dollars, two digits of less than a cent."""
    if not isinstance(value, str) or not DECIMAL.fullmatch(value):
        return value
    amount = Decimal(value)
    places = 4 if abs(amount) >= Decimal("0.01") else max(4, 1 - amount.adjusted())
    return f"{round(amount, places).normalize():f}"


def _flat(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield pairs; of what is nested the keys with slashes between, of a list its members with commas."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from ((f"{key}/{name}", text) for name, text in _flat(inner))
        else:
            yield key, ",".join(map(str, inner)) if isinstance(inner, list) else str(inner)

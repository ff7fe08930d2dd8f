"""The least that a call cost of which only the request is known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from addons.openai.pricing import price


def lower_bound(event: Mapping[str, Any]) -> dict[str, Any]:
    """The ``cost`` of an event whose output is unknown: its input, and a word on what is missing."""
    cost = price(
        event["model"],
        event["usage"],
        at=datetime.fromisoformat(event["timestamp"]),
        host=event["host"] or "",
    )
    return {**cost.as_dict(), "missing": cost.missing or "the output: this is a lower bound, the input alone"}

"""Read the service tier that a request asks for, which counts only where its answer names none.

The answer's tier says what is billed (https://platform.openai.com/docs/api-reference/chat/create). Without
it the call may have been served in the tier that was asked for, or in the standard one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.http.values import text

STANDARD = frozenset({"", "default", "auto", "standard", "on_demand", "standard_only"})
"""Requests for what is served without a request; the last two are Groq's and Anthropic's names."""
CHEAPER = frozenset({"flex", "batch"})
"""Tiers that cost less than the standard wherever they are sold."""
KEPT = "asked/"
"""It is what the tier begins with where it is kept with a response, for the later calls that show its
usage."""
LONGEST = 40


def asked_tier(request: Any) -> str | None:
    """Give the tier that a request's body asks for; None where that is the standard one.

    >>> asked_tier({"service_tier": "priority"}), asked_tier({"service_tier": "auto"})
    ('priority', None)
    """
    told = request.get("service_tier") if isinstance(request, Mapping) else None
    tier = text(told).strip().lower()[:LONGEST]
    return None if tier in STANDARD else tier


def names_none(tier: str | None) -> bool:
    """Tell whether an answer leaves open in which tier it was served: `auto` only repeats the request."""
    return tier in (None, "", "auto")

"""Read the time that background work may take: with a longer one it has a discount.

It stands for a service tier here. Only the request names it (openai-python 3.54, ``background_options``), so
it is kept with the response that the call makes, whose usage a later look shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PREFIX = "background/"
"""It is what such a tier begins with."""
STANDARD = frozenset({None, "", "default", "auto", "standard"})
"""Tiers in whose place it stands."""
LONGEST = 20


def window_tier(*told: Any) -> str | None:
    """Give the tier that stands for the completion window that a request or an answer tells.

    >>> window_tier({"background_options": {"completion_window": "8h"}})
    'background/8h'
    """
    for body in told:
        options = body.get("background_options") if isinstance(body, Mapping) else None
        window = options.get("completion_window") if isinstance(options, Mapping) else None
        if isinstance(window, str) and window not in ("", "soonest"):
            return f"{PREFIX}{window[:LONGEST]}"
    return None

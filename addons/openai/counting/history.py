"""Count as the API did for a while, as recordings of that time show: old traffic can be imported.

An answer says when it was made (`created`, `created_at`, in seconds since 1970). The bounds lie between the
last recording that shows the old way and the first that shows the new one.
"""

from __future__ import annotations

PREVIEW = (1_741_651_200, 1_743_465_600)
"""2025-03-11, when the Responses API came out, to 2025-04-01."""
PREVIEW_PREAMBLE = 18
"""Tokens of a hidden preamble in every input, six of six; more with tools."""
END_COUNTED = (1_741_651_200, 1_748_044_800)
"""2025-03-11 to 2025-05-24: the token that ends a chat answer was output, as it is on Azure. Four of four."""


def preamble(created: object) -> int:
    """Give the tokens before the input of a response."""
    return PREVIEW_PREAMBLE if _within(created, PREVIEW) else 0


def end_counted(created: object) -> bool:
    """Tell whether a chat answer's end was counted."""
    return _within(created, END_COUNTED)


def _within(created: object, bounds: tuple[int, int]) -> bool:
    return isinstance(created, int | float) and bounds[0] <= created < bounds[1]

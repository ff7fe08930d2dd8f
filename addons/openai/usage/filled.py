"""Fill a reported usage that lacks a figure with what was counted."""

from __future__ import annotations

from typing import Any

from addons.openai.tokens import Count
from addons.openai.usage.usage import SIDES, UNREPORTED, Usage


def filled(usage: Usage, counted: Count | None) -> dict[str, Any]:
    """Give the event's `usage`: what is reported stays, and `counted` names the figures that were counted.

    A total that is reported alone is split: the input is counted, and the rest is output.
    """
    sides = usage.unreported
    if not sides:
        return usage.as_dict()
    found = {side: getattr(counted, side) for side in sides if counted and getattr(counted, side) is not None}
    if usage.total_tokens is not None and found.get("input_tokens") is not None:
        given = min(found["input_tokens"], usage.total_tokens)
        found = {"input_tokens": given, "output_tokens": usage.total_tokens - given}
    shown = usage.as_dict() | found
    known = all(shown[side] is not None for side in SIDES)
    if usage.total_tokens is None:
        shown["total_tokens"] = shown["input_tokens"] + shown["output_tokens"] if known else None
    if counted is None or not found:
        return shown | {"complete": False, "missing": [*usage.missing, UNREPORTED]}
    lower = [side for side in sides if side in counted.lower_bound or side not in found]
    missing = [*usage.missing, *(counted.missing if lower else ()), *(() if known else (UNREPORTED,))]
    shown |= {"counted": list(found), "complete": not missing, "source": counted.source}
    if missing:
        shown |= {"missing": list(dict.fromkeys(missing)), "lower_bound": lower}
    if approximate := [*usage.approximate, *counted.approximate]:
        shown["approximate"] = list(dict.fromkeys(approximate))
    return shown

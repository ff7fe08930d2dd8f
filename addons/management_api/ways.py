"""Read by what usage is told apart."""

from __future__ import annotations

from addons.management_api.fields import Fields, invalid
from store.usage.breakdown import LABEL
from store.usage.reports import WAYS

TOP, TOP_OVER_TIME = 100, 10
"""Groups that are told apart where nothing says how many: of a whole, and in each period."""


def ways_of(query: Fields, usual: str) -> tuple[str, ...]:
    """Give by what usage is told apart: ``by=day,model``; ``by=`` for one sum of all."""
    given = query.text("by")
    ways = dict.fromkeys(way.strip() for way in (usual if given is None else given).split(","))
    for way in ways:
        if way and way not in WAYS and not (way.startswith(LABEL) and way != LABEL):
            raise invalid("by", f"{way[:40]!r}: use {', '.join(WAYS)} or label:NAME, with commas between")
    return tuple(way for way in ways if way)

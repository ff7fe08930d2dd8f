"""Read values of unknown shape: what is not of the wanted kind counts as absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def objects(value: object) -> list[Json]:
    """Give the objects in a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: object) -> str:
    """Give a text; else the empty one."""
    return value if isinstance(value, str) else ""


def name(value: object) -> str | None:
    """Give a text that says something; else None."""
    return value if isinstance(value, str) and value else None


def index(part: Mapping[str, Any], key: str = "index") -> int | None:
    """Give a place in a list; None where none is given."""
    value = part.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def child(holder: Json, key: str) -> Json:
    """Give the object at `key`, made if there is none: a server may have put anything there before."""
    value = holder.get(key)
    if not isinstance(value, dict):
        value = holder[key] = {}
    return value


def children(holder: Json, key: str) -> list[Any]:
    """Give the list at `key`, made if there is none."""
    value = holder.get(key)
    if not isinstance(value, list):
        value = holder[key] = []
    return value


MOST_PLACES = 1000


def place(items: list[Any], wanted: int | None, empty: Json) -> Json:
    """Give the object at a place of a list that grows to reach it; `empty` is what the new ones look like."""
    at = wanted if wanted is not None and 0 <= wanted < MOST_PLACES else 0
    while len(items) <= at:
        items.append(dict(empty))
    if not isinstance(items[at], dict):
        items[at] = dict(empty)
    found: Json = items[at]
    return found


def append_text(holder: Json, key: str, more: object) -> None:
    holder[key] = text(holder.get(key)) + text(more)

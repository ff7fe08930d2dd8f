"""Fragments of tool calls become the calls: by index, and where servers give none, by id and by order."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from addons.openai.http.values import Json, append_text, child, index, name, text


class ToolCalls:
    """Collects the calls of one message, as their fragments come."""

    def __init__(self) -> None:
        self._calls: list[tuple[float, Json]] = []
        self._by_index: dict[int, Json] = {}

    def add(self, fragment: Mapping[str, Any]) -> None:
        """Add a fragment: the first of a call names it, the later ones carry more of its arguments."""
        at, call_id = index(fragment), name(fragment.get("id"))
        call = self._by_id(fragment, call_id) if at is None else self._by_index.get(at)
        # Some servers number all calls 0 and send each of them whole.
        another = call is not None and call_id and call.get("id") not in (None, "", call_id)
        if call is None or (another and _names(fragment)):
            call = {}
            self._calls.append((math.inf if at is None else at, call))
        if at is not None:
            self._by_index[at] = call
        add_fragment(call, fragment)

    def calls(self) -> list[Json]:
        """Give the calls in the order of their indexes; those without one in the order of their coming."""
        return [call for _, call in sorted(self._calls, key=lambda pair: pair[0])]

    def _by_id(self, fragment: Mapping[str, Any], call_id: str | None) -> Json | None:
        """Give the call that a fragment without an index belongs to; None where it begins one."""
        if call_id:
            return next((call for _, call in self._calls if call.get("id") == call_id), None)
        last = self._calls[-1][1] if self._calls else None
        return None if last is None or (_names(fragment) and _is_whole(last)) else last


def add_fragment(call: Json, part: Mapping[str, Any]) -> None:
    """Add a fragment to its call (or to a legacy ``function_call``)."""
    for key, value in part.items():
        if key == "index":
            continue
        if isinstance(value, Mapping):
            add_fragment(child(call, key), value)
        elif key in ("arguments", "input"):
            append_text(call, key, value)
        elif key == "name":
            call[key] = _name(text(call.get(key)), text(value)) or value
        elif value or key not in call:
            call[key] = value


def _name(before: str, more: str) -> str:
    """Join a name, which comes whole, at times again with each fragment; few servers send it in pieces."""
    if before.startswith(more):
        return before
    return more if more.startswith(before) else before + more


def _names(fragment: Mapping[str, Any]) -> bool:
    return any(
        isinstance(holder := fragment.get(kind), Mapping) and bool(holder.get("name"))
        for kind in ("function", "custom")
    )


def _is_whole(call: Json) -> bool:
    """Tell whether nothing can follow in a call: its arguments are JSON already."""
    function = call.get("function")
    arguments = function.get("arguments") if isinstance(function, Mapping) else None
    try:
        json.loads(arguments if isinstance(arguments, str) else "")
    except (ValueError, RecursionError):
        return False
    return True

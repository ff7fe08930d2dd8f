"""Write JSON schemas for structured output as they are put to the model: compact, without the strictness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.counting.model import Model
from addons.openai.counting.tally import Tally, TooMuch, to_json

DROPPED = frozenset({"additionalProperties", "required"})
NAMES = frozenset({"properties", "$defs", "definitions", "patternProperties"})
"""Keys whose objects have names of the user's for keys."""
MAX_DEPTH = 100


def is_schema(value: object) -> bool:
    return isinstance(value, Mapping) and value.get("type") == "json_schema"


def count_schema(tally: Tally, model: Model, schema: object) -> None:
    try:
        tally.add(model.n(render(schema)))
    except TooMuch:
        tally.weigh(schema)


def render(schema: object) -> str:
    """Give the schema's text, in its own order. Raises :class:`TooMuch` where it is nested too deeply."""
    return to_json(_without(schema, 0))


def _without(value: object, depth: int, *, names: bool = False) -> Any:
    if depth > MAX_DEPTH:
        raise TooMuch
    if isinstance(value, Mapping):
        return {
            key: _without(item, depth + 1, names=not names and key in NAMES)
            for key, item in value.items()
            if names or key not in DROPPED
        }
    if isinstance(value, list):
        return [_without(item, depth + 1) for item in value]
    return value

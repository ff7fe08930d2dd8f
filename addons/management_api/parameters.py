"""Name once what a request may hold.

Requests are refused that hold anything else, and the OpenAPI document (:mod:`addons.management_api.openapi`)
says the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addons.management_api.fields import LARGEST_PAGE
from store.tokens.fields import LABELS, LIMITS, MOMENT, NAMES, NUMBER, PAIRS, TEXT, Kind, offered_fields

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """Describes a field of a body, or a parameter of a URL."""

    schema: Schema
    """JSON Schema, as OpenAPI 3.1 takes it."""
    required: bool = False


Takes = Mapping[str, Parameter]
"""By name."""


def _described(schema: dict[str, Any], description: str) -> Schema:
    return {**schema, "description": description} if description else schema


def text(description: str = "", **more: Any) -> Parameter:
    """Give a text of any kind; null is as good as none."""
    return Parameter(_described({"type": ["string", "null"], **more}, description))


def required_text(description: str = "", **more: Any) -> Parameter:
    """Give a text that has to be there."""
    return Parameter(_described({"type": "string", "minLength": 1, **more}, description), required=True)


def choice(*words: str) -> Parameter:
    """Give one of these words; the first where none is given."""
    return Parameter({"type": "string", "enum": list(words), "default": words[0]})


def required_choice(*words: str) -> Parameter:
    """Give one of these words, which has to be there."""
    return Parameter({"type": "string", "enum": list(words)}, required=True)


def moment(description: str) -> Parameter:
    """Give a point in time."""
    return text(f"{description}: a length of time such as 30d, a date, or RFC 3339")


def length(description: str) -> Parameter:
    """Give a length of time."""
    return Parameter(
        _described({"type": ["string", "null"], "examples": ["90d", "12h"]}, f"{description}, such as 90d")
    )


FLAG = Parameter({"type": ["boolean", "null"]})
REQUIRED_FLAG = Parameter({"type": "boolean"})
NAMES_OF_PROJECTS = Parameter(
    {"type": ["array", "null"], "items": {"type": "string"}, "description": "Ids or names"}
)
OBJECT = Parameter({"type": ["object", "null"]})
PAIRS_OF_TEXT = Parameter(
    {"type": ["object", "null"], "additionalProperties": {"type": ["string", "null"]}},
)
LIMIT = Parameter({"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE})
NATURAL = Parameter({"type": "integer", "minimum": 0, "maximum": 10**18 - 1})
AMOUNT = required_text("What is added: 5usd/day, 100000tokens/month, 20usd")
NAMED_OF_TOKEN: Takes = {"label": text("Whose budget it is instead: a label and its value, team=search")}
NAMED_OF_PROJECT: Takes = {
    "user": text("Whose budget it is instead: a user's, as /manage/budgets names it"),
    "address": text("Whose budget it is instead: a client address's"),
    **NAMED_OF_TOKEN,
}
BY_KIND: Mapping[Kind, Schema] = {
    TEXT: {"type": ["string", "null"]},
    NUMBER: {"type": ["integer", "null"]},
    MOMENT: {"type": ["string", "null"], "description": "30d, a date, RFC 3339, or never"},
    PAIRS: {"type": ["object", "null"], "additionalProperties": {"type": ["string", "null"]}},
    NAMES: {"type": ["array", "null"], "items": {"type": "string"}},
    LIMITS: {"type": ["object", "null"], "description": "docs/limits.md"},
    LABELS: {"type": ["object", "null"], "description": "Limits by the names of labels: docs/limits.md"},
}


def of_model(model: type) -> Takes:
    """Return the fields of Token or Project that may be given."""
    return {field.name: Parameter(BY_KIND[field.kind]) for field in offered_fields(model)}


def texts(*names: str) -> Takes:
    """Return parameters that are texts."""
    return {name: text() for name in names}


def required(takes: Takes) -> Sequence[str]:
    """Name those that have to be there."""
    return [name for name, parameter in takes.items() if parameter.required]

"""Hold what has been counted so far, and what could not be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

BYTES_PER_TOKEN = 4
"""It is that of a text that is not encoded: a common rule of thumb for English."""
MAX_NODES = 1_000_000
"""Values looked at to weigh what is too large to count."""


Missing = Literal[
    "audio",
    "best_of",
    "content_filter",
    "context_management",
    "conversation",
    "custom_tools",
    "cut",
    "encrypted_content",
    "files",
    "hosted_tools",
    "images",
    "item_references",
    "lines",
    "output_overhead",
    "prediction",
    "previous_response_id",
    "prompt",
    "reasoning",
    "request",
    "unknown_content",
    "unreported",
]
"""It is what a figure leaves out."""
Approximate = Literal[
    "audio",
    "custom_tools",
    "images",
    "model",
    "echo",
    "not_whole",
    "preview",
    "recursive_schema",
    "structured_output",
    "too_large",
    "tool_choice",
    "vocabulary",
]
"""It is what was in view, but could only be estimated."""


class TooMuch(Exception):
    """Says that a structure is too deep or too large to work through; its size gives an estimate instead."""


@dataclass(slots=True)
class Tally:
    """Counts one side of a call, input or output.

    docs/event.md says what the codes mean. (The keys of a dictionary keep their order, and are there once.)
    """

    tokens: int = 0
    missing: dict[Missing, None] = field(default_factory=dict)
    approximate: dict[Approximate, None] = field(default_factory=dict)

    def add(self, tokens: int) -> None:
        self.tokens += tokens

    def lack(self, code: Missing) -> None:
        self.missing[code] = None

    def guess(self, code: Approximate) -> None:
        self.approximate[code] = None

    def weigh(self, value: object) -> None:
        """Add an estimate for a structure that is too much to render."""
        self.add(weight(value) // BYTES_PER_TOKEN)
        self.guess("too_large")


def by_length(written: str) -> int:
    """Give an estimate from the length in UTF-8, rounded up."""
    return -(-len(written.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def weight(value: object) -> int:
    """Give about the characters of a JSON value, at any depth."""
    total, waiting = 0, [value]
    for _ in range(MAX_NODES):
        if not waiting:
            break
        item = waiting.pop()
        total += len(item) if isinstance(item, str) else 2
        if isinstance(item, Mapping):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return total


def maps(value: object) -> list[Mapping[str, Any]]:
    """Give the objects of a list; none for what is no list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def strings(value: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    return [found for key in keys if isinstance(found := value.get(key), str)]


def to_json(value: object, *, spaces: bool = False) -> str:
    """Write JSON, by default without white space. Raises :class:`TooMuch` where it is nested too deeply."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=None if spaces else (",", ":"))
    except (RecursionError, ValueError, TypeError) as error:
        raise TooMuch from error

"""The members of a JSON object, with the places where they stand in its text.

For changes to a body that leave every other byte as it is. What is between the braces of the object itself is
read here; the values are left to :mod:`json`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class Member:
    """One pair of an object."""

    key: str
    value: Any
    start: int
    """Where the key's opening quote stands."""
    end: int
    """Where the value has ended."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")  # RFC 8259 section 6


_decoder = json.JSONDecoder(parse_constant=_no_constant)


def members(text: str) -> list[Member]:
    """The members of the object that `text` is, in order, repeated keys included (the last one counts).

    Raises ValueError where `text` is not one JSON object, RecursionError where it is nested too deep.

    >>> [(member.key, member.value, text[member.start:member.end])
    ...  for text in ['{"a": 1, "b":null}'] for member in members(text)]
    [('a', 1, '"a": 1'), ('b', None, '"b":null')]
    """
    at = _expect(text, _skip(text, 0), "{")
    found: list[Member] = []
    if text[at : at + 1] == "}":
        at += 1
    else:
        while True:
            start = at
            _peek(text, at, '"')
            key, at = _decoder.raw_decode(text, at)
            at = _expect(text, _skip(text, at), ":")
            value, at = _decoder.raw_decode(text, at)
            found.append(Member(key, value, start, at))
            at = _skip(text, at)
            if text[at : at + 1] == "}":
                at += 1
                break
            at = _expect(text, at, ",")
    if _skip(text, at) != len(text):
        raise ValueError(f"something follows the object at {at}")
    return found


def last(found: list[Member], key: str) -> Member | None:
    """The member named `key` that counts: of several the last one, as every common parser reads it."""
    return next((member for member in reversed(found) if member.key == key), None)


def _skip(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at


def _peek(text: str, at: int, wanted: str) -> None:
    if text[at : at + 1] != wanted:
        raise ValueError(f"{wanted!r} expected at {at}")


def _expect(text: str, at: int, wanted: str) -> int:
    """The place of the next token after `wanted`, which must stand at `at`."""
    _peek(text, at, wanted)
    return _skip(text, at + 1)

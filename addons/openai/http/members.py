"""Find the members of a JSON object, with the places where they stand in its text.

For changes to a body that leave every other byte as it is. What is between the braces of the object itself is
read here; the values are left to :mod:`json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

BOM = b"\xef\xbb\xbf"
SPACE = re.compile(r"[ \t\n\r]*")


class Member(NamedTuple):
    """Holds one pair of an object."""

    key: str
    value: Any
    start: int
    """It says where the key's opening quote stands."""
    end: int
    """It says where the value has ended."""


class Repeated(dict[str, Any]):
    """Holds an object with a repeated name: as a mapping the last value counts; `pairs` has all of them."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        self.pairs = list(pairs)
        super().__init__(self.pairs)


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Give the object with these members, in which repeated names can still be told."""
    value = dict(pairs)
    return value if len(value) == len(pairs) else Repeated(pairs)


class Insertion(NamedTuple):
    """Bytes to be put into a body, whose own bytes stay but for those that are replaced."""

    at: int
    """Before this byte."""
    data: bytes
    end: int | None = None
    """Before this byte the replaced ones end; None where none is."""


def insertion(text: str, at: int, added: str, *, end: int | None = None, offset: int = 0) -> Insertion:
    """Insert `added` at a place of the text that a body holds behind its first `offset` bytes."""

    def byte(place: int) -> int:
        return offset + (place if text.isascii() else len(text[:place].encode()))

    return Insertion(byte(at), added.encode(), None if end is None else byte(end))


def inserted(body: bytes, insertions: Iterable[Insertion]) -> bytes:
    """Give `body` with these insertions, of which earlier ones come first at the same place."""
    parts: list[bytes] = []
    begin = 0
    for one in sorted(insertions, key=lambda one: one.at):
        parts += (body[begin : one.at], one.data)
        begin = one.at if one.end is None else one.end
    return b"".join((*parts, body[begin:]))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")  # RFC 8259 section 6


_value = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=object_of).raw_decode


def members(text: str) -> list[Member]:
    """Give the members of the object that `text` is, in order, repeated keys included (the last one counts).

    Raises ValueError where `text` is not one JSON object, RecursionError where it is nested too deep.

    >>> [(member.key, member.value, text[member.start:member.end])
    ...  for text in ['{"a": 1, "b":null}'] for member in members(text)]
    [('a', 1, '"a": 1'), ('b', None, '"b":null')]
    """
    at = _expect(text, _skip(text, 0), "{")
    found: list[Member] = []
    mark = "," if text[at : at + 1] != "}" else "}"
    while mark == ",":
        if text[at : at + 1] != '"':
            raise ValueError(f"a key expected at {at}")
        key, colon = _value(text, at)
        value, end = _value(text, _expect(text, _skip(text, colon), ":"))
        found.append(Member(key, value, at, end))
        end = _skip(text, end)
        mark = text[end : end + 1]
        at = _expect(text, end, "," if mark == "," else "}")
    at = at if found else _skip(text, at + 1)
    if at != len(text):
        raise ValueError(f"something follows the object at {at}")
    return found


def last(found: list[Member], key: str) -> Member | None:
    """Give the member named `key` that counts: of several the last one, as every common parser reads it."""
    return next((member for member in reversed(found) if member.key == key), None)


def _skip(text: str, at: int) -> int:
    """Give the next place that is not white space."""
    if text[at : at + 1] not in (" ", "\t", "\n", "\r"):
        return at
    match = SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, wanted: str) -> int:
    """Give the place of the next token after `wanted`, which must stand at `at`."""
    if text[at : at + 1] != wanted:
        raise ValueError(f"{wanted!r} expected at {at}")
    return _skip(text, at + 1)

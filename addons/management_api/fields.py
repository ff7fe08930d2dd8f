"""What requests to the management API hold, checked: each reader names the field at fault."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from addons.management_api.errors import ApiError
from addons.openai.endpoints import KNOWN_NAMES, RISK_CLASSES
from store import moments
from store.errors import Invalid
from store.limits import Limits
from store.limits import of as limits_of

PAGE, LARGEST_PAGE = 100, 1000
DIGITS = re.compile(r"\d{1,18}", re.ASCII)
T = TypeVar("T")
Given = Mapping[str, Any]


class Fields:
    """The fields of an object, of which no others than `known` may be there. Readers raise ApiError."""

    def __init__(self, given: Given, known: Sequence[str]) -> None:
        if unknown := sorted(given.keys() - set(known)):
            raise _invalid(unknown[0], f"unknown; use {', '.join(known) or 'none'}")
        self._given = given

    @classmethod
    def of_body(cls, body: bytes, known: Sequence[str]) -> Fields:
        """An empty body is an empty object."""
        try:
            given = json.loads(body, object_pairs_hook=_without_repeats) if body.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ApiError(400, "invalid_json", f"The body is not JSON: {error}.") from error
        if not isinstance(given, Mapping):
            raise ApiError(400, "invalid_json", "The body is no JSON object.")
        return cls(given, known)

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def required(self, name: str) -> str:
        if not (value := self.text(name)):
            raise _invalid(name, "use a text")
        return value

    def text(self, name: str) -> str | None:
        return self._of(name, str, "a text")

    def required_flag(self, name: str) -> bool:
        if (value := self.flag(name)) is None:
            raise _invalid(name, "use true or false")
        return value

    def flag(self, name: str) -> bool | None:
        return self._of(name, bool, "true or false")

    def whole(self, name: str) -> int | None:
        return self._of(name, int, "a whole number")

    def object(self, name: str) -> Given | None:
        return self._of(name, Mapping, "an object")  # type: ignore[type-abstract]

    def names(self, name: str) -> Sequence[str] | None:
        value = self._of(name, list, "a list of texts")
        if value is not None and not all(isinstance(one, str) for one in value):
            raise _invalid(name, "use a list of texts")
        return value

    def expiry(self, name: str) -> datetime | None:
        return self._read_text(name, moments.expiry)

    def duration(self, name: str) -> timedelta | None:
        return self._read_text(name, moments.duration)

    def past(self, name: str) -> datetime | None:
        return self._read_text(name, moments.past)

    def natural(self, name: str) -> int | None:
        """Of a URL, where everything is text."""
        text = self.text(name)
        if text is not None and not DIGITS.fullmatch(text):
            raise _invalid(name, "use a whole number")
        return None if text is None else int(text)

    def limit(self, name: str) -> int:
        """How many to list."""
        limit = self.natural(name)
        if limit is not None and not 0 < limit <= LARGEST_PAGE:
            raise _invalid(name, f"use 1 to {LARGEST_PAGE}")
        return PAGE if limit is None else limit

    def pairs(self, name: str) -> Callable[[Mapping[str, str]], Given]:
        """A function that changes pairs as the field says; null removes one of them, or all."""
        patch = self.object(name)
        return lambda present: merged(present, patch)

    def limits(self, name: str) -> Callable[[Limits], Limits]:
        """A function that changes limits as the field says; null removes one of them, or all."""
        patch = self.object(name)
        return lambda present: _checked(limits_of(merged(present.as_dict(), patch)))

    def _read_text(self, name: str, read: Callable[[str], T]) -> T | None:
        text = self.text(name)
        try:
            return None if text is None else read(text)
        except Invalid as error:
            raise _invalid(name, str(error).removesuffix(".")) from error

    def _of(self, name: str, kind: type[T], called: str) -> T | None:
        """The value; None where it is null or missing."""
        value = self._given.get(name)
        # In Python true is a number.
        if value is None or (isinstance(value, kind) and isinstance(value, bool) is (kind is bool)):
            return value
        raise _invalid(name, f"use {called}, or null")


def _checked(limits: Limits) -> Limits:
    """The store takes any name of an endpoint. Raises Invalid."""
    for name in limits.endpoints:
        if name not in KNOWN_NAMES and name not in RISK_CLASSES:
            raise Invalid(f"{name!r}: there is no such endpoint or class; docs/endpoints.md lists them.")
    return limits


def merged(present: Given, patch: Given | None) -> Given:
    """`present`, changed by a JSON Merge Patch (RFC 7396)."""
    changed = dict(present) if patch is not None else {}
    for name, value in (patch or {}).items():
        inner = changed.pop(name, None)
        if isinstance(value, Mapping):
            changed[name] = merged(inner if isinstance(inner, Mapping) else {}, value)
        elif value is not None:
            changed[name] = value
    return changed


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _invalid(name: str, why: str) -> ApiError:
    return ApiError(400, "invalid_value", f"{name[:80]}: {why}.", name[:80])

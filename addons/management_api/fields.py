"""Check what requests to the management API hold; each reader names the field at fault."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, TypeVar

from addons.management_api.errors import ApiError
from addons.openai.endpoints import KNOWN_NAMES, RISK_CLASSES
from store.audit.origin import address
from store.core import times
from store.core.errors import Invalid
from store.keys import key_references
from store.tokens import label_limits
from store.tokens.limits import Limits
from store.tokens.limits import of as limits_of

PAGE, LARGEST_PAGE = 100, 1000
DIGITS = re.compile(r"\d{1,18}", re.ASCII)
T = TypeVar("T")
Given = Mapping[str, Any]


class Fields:
    """Holds the fields of an object, of which no others than `known` may be there. Readers raise ApiError."""

    def __init__(self, given: Given, known: Sequence[str]) -> None:
        if unknown := sorted(given.keys() - set(known)):
            raise invalid(unknown[0], f"unknown; use {', '.join(known) or 'none'}")
        self._given = given

    @classmethod
    def of_body(cls, body: bytes, known: Sequence[str]) -> Fields:
        """Read a body; an empty one is an empty object."""
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
            raise invalid(name, "use a text")
        return value

    def text(self, name: str) -> str | None:
        return self._of(name, str, "a text")

    def required_flag(self, name: str) -> bool:
        if (value := self.flag(name)) is None:
            raise invalid(name, "use true or false")
        return value

    def flag(self, name: str) -> bool | None:
        return self._of(name, bool, "true or false")

    def either(self, name: str) -> str | bool | None:
        """Return a text, or true or false."""
        value = self._given.get(name)
        if value is None or isinstance(value, str | bool):
            return value
        raise invalid(name, "use a text, or true or false")

    def whole(self, name: str) -> int | None:
        return self._of(name, int, "a whole number")

    def object(self, name: str) -> Given | None:
        return self._of(name, Mapping, "an object")  # type: ignore[type-abstract]

    def api_key(self, name: str, references: Sequence[str]) -> str:
        """Give a key, or where one is kept, if that fits one of the globs `references`."""
        value = self.required(name)
        if key_references.is_reference(value) and not key_references.fits(value, references):
            raise invalid(
                name,
                f"{value.partition(':')[0]}: references are taken only where the proxy's option "
                "llm_management_keys allows them; give the key itself",
            )
        return value

    def address(self, name: str) -> str | None:
        """Give an IP address."""
        given = self.text(name)
        if given is not None and (found := address(given)) is None:
            raise invalid(name, "use an IP address")
        return None if given is None else found

    def names(self, name: str) -> Sequence[str] | None:
        value = self._of(name, list, "a list of texts")
        if value is not None and not all(isinstance(one, str) for one in value):
            raise invalid(name, "use a list of texts")
        return value

    def expiry(self, name: str) -> datetime | None:
        return self._read_text(name, times.coming)

    def duration(self, name: str) -> timedelta | None:
        return self._read_text(name, times.duration)

    def past(self, name: str, zone: tzinfo = UTC) -> datetime | None:
        return self._read_text(name, lambda text: times.past(text, zone))

    def zone(self, name: str) -> tzinfo:
        """Give a time zone by its name; UTC where none is given."""
        return self._read_text(name, times.time_zone) or UTC

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """Give one of these words; the first where none is given."""
        given = self.text(name)
        if given is not None and given not in choices:
            raise invalid(name, f"use {' or '.join(choices)}")
        return given or choices[0]

    def natural(self, name: str) -> int | None:
        """Read a number of a URL, where everything is text."""
        text = self.text(name)
        if text is not None and not DIGITS.fullmatch(text):
            raise invalid(name, "use a whole number")
        return None if text is None else int(text)

    def limit(self, name: str, usual: int = PAGE) -> int:
        """Say how many to list."""
        limit = self.natural(name)
        if limit is not None and not 0 < limit <= LARGEST_PAGE:
            raise invalid(name, f"use 1 to {LARGEST_PAGE}")
        return usual if limit is None else limit

    def pairs(self, name: str) -> Callable[[Mapping[str, str]], Given]:
        """Give a function that changes pairs as the field says; null removes one of them, or all."""
        patch = self.object(name)
        return lambda present: merged(present, patch)

    def limits(self, name: str) -> Callable[[Limits], Limits]:
        """Give a function that changes limits as the field says; null removes one of them, or all."""
        patch = self.object(name)
        if patch is not None and isinstance(ends := patch.get("expires_at"), str):
            # Only what is new has to lie ahead: a project that has ended may get other limits.
            try:
                times.coming(ends)
            except Invalid as error:
                raise invalid(f"{name}.expires_at", str(error).removesuffix(".")) from error
        return lambda present: _checked(limits_of(merged(present.as_dict(), patch)))

    def label_limits(self, name: str) -> Callable[[Mapping[str, Limits]], Mapping[str, Limits]]:
        """Give a function that changes limits of labels; null removes a label, one of its limits, or all."""
        patch = self.object(name)
        return lambda present: label_limits.of(merged(label_limits.as_dict(present), patch))

    def _read_text(self, name: str, read: Callable[[str], T]) -> T | None:
        text = self.text(name)
        try:
            return None if text is None else read(text)
        except Invalid as error:
            raise invalid(name, str(error).removesuffix(".")) from error

    def _of(self, name: str, kind: type[T], called: str) -> T | None:
        """Give the value; None where it is null or missing."""
        value = self._given.get(name)
        # In Python true is a number.
        if value is None or (isinstance(value, kind) and isinstance(value, bool) is (kind is bool)):
            return value
        raise invalid(name, f"use {called}, or null")


def _checked(limits: Limits) -> Limits:
    """Check names of endpoints, of which the store takes any. Raises Invalid."""
    for name in limits.endpoints:
        if name not in KNOWN_NAMES and name not in RISK_CLASSES:
            raise Invalid(f"{name!r}: there is no such endpoint or class; docs/endpoints.md lists them.")
    return limits


def merged(present: Given, patch: Given | None) -> Given:
    """Give `present`, changed by a JSON Merge Patch (RFC 7396)."""
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


def invalid(name: str, why: str) -> ApiError:
    return ApiError(400, "invalid_value", f"{name[:80]}: {why}.", name[:80])

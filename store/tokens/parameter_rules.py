"""Rule on the parameters of requests: which values a field of the body may have.

A rule is ``FIELD=VALUES``. FIELD is a name, or a path: ``reasoning.effort``; ``[]`` stands for each element
of a list: ``tools[].type``. VALUES are alternatives with ``|`` between: globs (``gpt-*``, ``auto``) and
ranges of numbers (``0..1``, ``..4096``, ``1..``). A leading ``!`` says that the field must be there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase

from store.core.errors import Invalid

MOST_RULES = 32
LONGEST_RULE = 500
LONGEST_FIELD = 100
FIELD = re.compile(r"\w[\w-]*(?:\[\])?(?:\.\w[\w-]*(?:\[\])?)*", re.ASCII)
NUMBER = r"-?\d{1,15}(?:\.\d{1,15})?"
RANGE = re.compile(rf"({NUMBER})?\.\.({NUMBER})?", re.ASCII)
REQUIRED = "!"


@dataclass(frozen=True, slots=True)
class Range:
    """Allows numbers from `low` to `high`, both included; None for no end."""

    low: Decimal | None
    high: Decimal | None

    def has(self, text: str) -> bool:
        try:
            number = Decimal(text)
        except InvalidOperation:
            return False
        return (
            number.is_finite()
            and (self.low is None or self.low <= number)
            and (self.high is None or number <= self.high)
        )


@dataclass(frozen=True, slots=True)
class Glob:
    """Allows texts that fit a pattern, by case."""

    pattern: str

    def has(self, text: str) -> bool:
        return fnmatchcase(text, self.pattern)


@dataclass(frozen=True, slots=True)
class ParameterRule:
    """Says what one field may be."""

    field: str
    text: str
    """As it was written."""
    required: bool
    allowed: Sequence[Range | Glob]
    whose: str = ""
    """It says who sets it, in a refusal."""

    def allows(self, value: str) -> bool:
        """Tell whether a value, as JSON writes it and without quotes, may be sent."""
        return any(each.has(value) for each in self.allowed)


def parse_rule(field: str, text: str, whose: str = "") -> ParameterRule:
    """Read one rule. Raises Invalid."""
    if len(field) > LONGEST_FIELD or not FIELD.fullmatch(field):
        raise Invalid(
            f"parameter {field[:60]!r}: write a name or a path, such as temperature or tools[].type."
        )
    required = text.startswith(REQUIRED)
    parts = [part.strip() for part in text.removeprefix(REQUIRED).split("|")]
    if len(text) > LONGEST_RULE or not text.isprintable() or not all(parts):
        raise Invalid(
            f"parameter {field}: write values with | between, such as auto|flex or 0..1; ! before them where "
            f"the field must be there; {LONGEST_RULE} characters at most."
        )
    return ParameterRule(field, text, required, [_alternative(field, part) for part in parts], whose)


def _alternative(field: str, text: str) -> Range | Glob:
    match = RANGE.fullmatch(text)
    if match is None or text == "..":
        return Glob(text)
    low, high = (None if end is None else Decimal(end) for end in match.groups())
    if low is not None and high is not None and low > high:
        raise Invalid(f"parameter {field}: the range {text} has its ends the wrong way round.")
    return Range(low, high)


def parameters(value: Mapping[str, str] | None) -> str:
    """Check rules; give them as JSON text. Raises Invalid."""
    rules = dict(value or {})
    if len(rules) > MOST_RULES:
        raise Invalid(f"parameters has {len(rules)} rules; at most {MOST_RULES} are kept.")
    for field, text in rules.items():
        if not isinstance(text, str):
            raise Invalid(f"parameter {field[:60]!r}: write its rule as a text, such as 0..1.")
        parse_rule(field, text)
    return json.dumps(rules, ensure_ascii=False, sort_keys=True)

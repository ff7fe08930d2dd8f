"""Every usage shape becomes one.

The API has two pairs of names for the same figures (`prompt`/`completion` and `input`/`output`) and two
spellings for their details. Details are parts of the figures, never on top of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INPUT = ("input_tokens", "prompt_tokens")
OUTPUT = ("output_tokens", "completion_tokens")
INPUT_DETAILS = (
    "input_tokens_details",
    "input_token_details",
    "prompt_tokens_details",
    "prompt_token_details",
)
OUTPUT_DETAILS = (
    "output_tokens_details",
    "output_token_details",
    "completion_tokens_details",
    "completion_token_details",
)
KNOWN = frozenset((*INPUT, *OUTPUT, *INPUT_DETAILS, *OUTPUT_DETAILS, "total_tokens", "seconds", "type"))


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call used, in tokens; or in seconds of audio, for models that are billed by them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: Mapping[str, Any] = field(default_factory=dict)
    output_tokens_details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    other: Mapping[str, Any] = field(default_factory=dict)
    """Keys that are not known here, as they came."""

    def as_dict(self) -> dict[str, Any]:
        """The event's `usage`, with ``source: api``."""
        shown: dict[str, Any] = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "input_tokens_details": dict(self.input_tokens_details),
            "output_tokens_details": dict(self.output_tokens_details),
        }
        if self.seconds is not None:
            shown["seconds"] = self.seconds
        if self.other:
            shown["other"] = dict(self.other)
        return {**shown, "source": "api"}

    @property
    def is_zero(self) -> bool:
        return not self.input_tokens and not self.output_tokens and not self.seconds


def read(value: object) -> Usage | None:
    """The canonical form of a usage object; None for anything that is not one.

    >>> read({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}).output_tokens
    1
    """
    if not isinstance(value, Mapping):
        return None
    inputs, outputs = _first_count(value, INPUT), _first_count(value, OUTPUT)
    total = _count(value.get("total_tokens"))
    seconds = _number(value.get("seconds"))
    if inputs is None and outputs is None and total is None and seconds is None:
        return None
    if seconds is None:
        # Embeddings report no output: they have none. A side that only the total tells is the rest of it.
        if inputs is None and total is not None:
            inputs = total - (outputs or 0)
        if outputs is None:
            outputs = max(0, total - inputs) if total is not None and inputs is not None else 0
        if total is None and inputs is not None:
            total = inputs + outputs
    return Usage(
        inputs,
        outputs,
        total,
        _first_map(value, INPUT_DETAILS),
        _first_map(value, OUTPUT_DETAILS),
        seconds,
        {key: item for key, item in value.items() if key not in KNOWN},
    )


def add(first: Usage | None, second: Usage) -> Usage:
    """The sum, for answers that bill in parts (one image after the other)."""
    if first is None:
        return second
    return Usage(
        _sum(first.input_tokens, second.input_tokens),
        _sum(first.output_tokens, second.output_tokens),
        _sum(first.total_tokens, second.total_tokens),
        _sum_maps(first.input_tokens_details, second.input_tokens_details),
        _sum_maps(first.output_tokens_details, second.output_tokens_details),
        None if first.seconds is None and second.seconds is None else _sum(first.seconds, second.seconds),
        {**first.other, **second.other},
    )


_KEY = re.compile(rb'"(usage|model)"\s*:\s*')


def from_tail(tail: bytes) -> tuple[Usage | None, str | None]:
    """The last usage, and the last model, in the end of a JSON text whose beginning is not there.

    Inside a JSON string the quotes of such a key would be escaped, so what looks like a key is one.
    """
    usage, model = None, None
    for match in _KEY.finditer(tail):
        if tail[match.start() - 1 : match.start()] == b"\\":
            continue
        try:
            value, _ = json.JSONDecoder().raw_decode(
                tail[match.end() : match.end() + 8192].decode("utf-8", "replace")
            )
        except ValueError:
            continue
        if match[1] == b"usage":
            usage = read(value) or usage
        elif isinstance(value, str):
            model = value
    return usage, model


def _count(value: object) -> int | None:
    """A whole number of zero or more; some servers write 12.0."""
    number = _number(value)
    return int(number) if number is not None and number == number // 1 else None


def _number(value: object) -> float | None:
    """A number of zero or more that fits into 63 bits; not-a-number does not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**63:
        return None
    return value


def _first_count(value: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := _count(value.get(name))) is not None), None)


def _first_map(value: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    return next((dict(found) for name in names if isinstance(found := value.get(name), Mapping)), {})


def _sum(first: Any, second: Any) -> Any:
    return (first or 0) + (second or 0)


def _sum_maps(first: Mapping[str, Any], second: Mapping[str, Any]) -> Mapping[str, Any]:
    keys = {**first, **second}
    return {key: _sum(_count(first.get(key)), _count(second.get(key))) for key in keys}

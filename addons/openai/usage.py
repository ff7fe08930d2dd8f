"""Every usage shape becomes one.

The API has two pairs of names for the same figures (`prompt`/`completion` and `input`/`output`) and two
spellings for their details; compatible servers have names of their own. Details are parts of the figures,
never on top of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

# Other makers' names of a detail -> the API's. They stand among the details, or beside the figures.
ON_TOP_CACHED = "cache_read_input_tokens"
ON_TOP_WRITTEN = "cache_creation_input_tokens"
INPUT_NAMES = {
    ON_TOP_CACHED: "cached_tokens",
    ON_TOP_WRITTEN: "cache_write_tokens",
    "prompt_cache_hit_tokens": "cached_tokens",
    "cached_input_tokens": "cached_tokens",
    "cached_prompt_tokens": "cached_tokens",
    "cache_read_tokens": "cached_tokens",
    "cache_creation_tokens": "cache_write_tokens",
    "cache_write_input_tokens": "cache_write_tokens",
    "audio_prompt_tokens": "audio_tokens",
    "prompt_audio_tokens": "audio_tokens",
    "input_audio_tokens": "audio_tokens",
    "input_image_tokens": "image_tokens",
    "input_text_tokens": "text_tokens",
    "cached_tokens": "cached_tokens",
    "cache_write_tokens": "cache_write_tokens",
}
OUTPUT_NAMES = {
    "reasoning_output_tokens": "reasoning_tokens",
    "thinking_tokens": "reasoning_tokens",
    "audio_completion_tokens": "audio_tokens",
    "completion_audio_tokens": "audio_tokens",
    "output_audio_tokens": "audio_tokens",
    "output_image_tokens": "image_tokens",
    "output_text_tokens": "text_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "accepted_prediction_tokens": "accepted_prediction_tokens",
    "rejected_prediction_tokens": "rejected_prediction_tokens",
}
KNOWN = frozenset((*INPUT, *OUTPUT, *INPUT_DETAILS, *OUTPUT_DETAILS, *INPUT_NAMES, *OUTPUT_NAMES)) | {
    "total_tokens",
    "seconds",
    "type",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call used: tokens, or what else its model is billed by. What is not known is None."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: Mapping[str, Any] = field(default_factory=dict)
    output_tokens_details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    """Of audio."""
    characters: int | None = None
    """Of the text that was to be spoken."""
    images: int | None = None
    """That are not billed by tokens, but by number, `size` and `quality`."""
    size: str | None = None
    quality: str | None = None
    other: Mapping[str, Any] = field(default_factory=dict)
    """Keys that are not known here, as they came."""
    raw: Any = None
    """The usage object as it came."""
    source: str = "api"
    """``api``: as reported; ``counted``: read from the exchange itself, exactly."""
    missing: Sequence[str] = ()
    """What is not in the figures; docs/event.md says what the codes mean."""

    def as_dict(self) -> dict[str, Any]:
        """The event's `usage`."""
        shown: dict[str, Any] = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "input_tokens_details": dict(self.input_tokens_details),
            "output_tokens_details": dict(self.output_tokens_details),
        }
        for name in ("seconds", "characters", "images", "size", "quality", "other", "raw"):
            value = getattr(self, name)
            if value is not None and (value or name != "other"):
                shown[name] = value
        if self.missing:
            shown |= {"complete": False, "missing": list(self.missing)}
        return {**shown, "source": self.source}

    @property
    def is_zero(self) -> bool:
        tokens = (self.input_tokens, self.output_tokens, self.total_tokens)
        return not any((*tokens, self.seconds, self.characters, self.images))

    def lacking(self, what: str) -> Usage:
        """The same, as a lower bound."""
        return replace(self, missing=[*self.missing, what])


def read(value: object) -> Usage | None:
    """The canonical form of a usage object; None for anything that is not one.

    >>> read({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}).output_tokens
    1
    """
    if not isinstance(value, Mapping):
        return None
    inputs, outputs = _first_count(value, INPUT), _first_count(value, OUTPUT)
    total = _count(value.get("total_tokens"))
    seconds = number(value.get("seconds"))
    if inputs is None and outputs is None and total is None and seconds is None:
        return None
    input_details = _details(value, INPUT_DETAILS, INPUT_NAMES)
    output_details = _details(value, OUTPUT_DETAILS, OUTPUT_NAMES)
    if inputs is not None:
        inputs += _on_top(value, inputs, outputs or 0, total)
    if inputs is not None or outputs is not None or total is not None:
        # Embeddings report no output: they have none. A side that only the total tells is the rest of it.
        if inputs is None and total is not None:
            inputs = max(0, total - (outputs or 0))
        if outputs is None:
            outputs = max(0, total - inputs) if total is not None and inputs is not None else 0
        if total is None and inputs is not None:
            total = inputs + outputs
    return Usage(
        inputs,
        outputs,
        total,
        input_details,
        output_details,
        seconds,
        other={key: item for key, item in value.items() if key not in KNOWN},
        raw=dict(value),
    )


def _on_top(value: Mapping[str, Any], inputs: int, outputs: int, total: int | None) -> int:
    """Cached tokens that the input does not include, as Anthropic counts; the total, if any, tells."""
    cached = (_count(value.get(ON_TOP_CACHED)) or 0) + (_count(value.get(ON_TOP_WRITTEN)) or 0)
    return cached if total is None or total == inputs + outputs + cached else 0


def last_complete(values: Iterable[object]) -> object:
    """Of several usage objects of one answer the last that states both sides; else the last; else None.

    Earlier ones are partial sums, and at times a zero follows.
    """
    best: tuple[int, object] = (0, None)
    for value in values:
        usage = read(value)
        if usage is None or not isinstance(value, Mapping):
            continue
        rank = 1 + (not usage.is_zero) + (states_both(value) and not usage.is_zero)
        if rank >= best[0]:
            best = rank, value
    return best[1]


def states_both(value: object) -> bool:
    """Whether a usage object says something of the input and of the output."""
    if not isinstance(value, Mapping):
        return False
    return _first_count(value, INPUT) is not None and _first_count(value, OUTPUT) is not None


def add(first: object, second: object) -> Any:
    """The sum of two usage objects, for answers that bill in parts: number by number, at any depth."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        keys = {**first, **second}
        return {key: add(first.get(key), second.get(key)) for key in keys}
    if (left := number(first)) is not None and (right := number(second)) is not None:
        return left + right
    return first if second is None else second


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
        except (ValueError, RecursionError):
            continue
        if match[1] == b"usage":
            usage = read(value) or usage
        elif isinstance(value, str):
            model = value
    return usage, model


def _count(value: object) -> int | None:
    """A whole number of zero or more; some servers write 12.0."""
    found = number(value)
    return int(found) if found is not None and found == found // 1 else None


def number(value: object) -> float | None:
    """A number of zero or more that fits into 63 bits; not-a-number does not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**63:
        return None
    return value


def _first_count(value: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := _count(value.get(name))) is not None), None)


def _details(value: Mapping[str, Any], holders: tuple[str, ...], names: Mapping[str, str]) -> dict[str, Any]:
    """The numbers among the details, under the API's names; unknown ones under their own."""
    found: dict[str, Any] = {}
    for holder in holders:
        details = value.get(holder)
        for key, item in details.items() if isinstance(details, Mapping) else ():
            if (kept := _detail(item)) is not None:
                _put(found, names.get(key, key), kept)
    for key, name in names.items():
        if (count := _count(value.get(key))) is not None:
            _put(found, name, count)
    return found


def _detail(item: object) -> Any:
    """A whole number as such; a group of them (the cached tokens by kind) as a group; else None."""
    if isinstance(item, Mapping):
        group = {key: kept for key, part in item.items() if (kept := _detail(part)) is not None}
        return group or None
    count = _count(item)
    return number(item) if count is None else count


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    """Two names for one thing say the same, or one of them says nothing."""
    found[name] = found.get(name) or value

"""Every usage shape becomes one.

The API has two pairs of names for the same figures (`prompt`/`completion` and `input`/`output`) and two
spellings for their details; compatible servers have names of their own (see :mod:`.names`). Details are parts
of the figures, never on top of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from addons.openai.usage.names import (
    BESIDE,
    CACHED_DETAILS,
    HEARD,
    INPUT,
    INPUT_DETAILS,
    INPUT_NAMES,
    INPUT_ON_TOP,
    INPUT_PARTS,
    KNOWN,
    OUTPUT,
    OUTPUT_DETAILS,
    OUTPUT_NAMES,
    TOTAL,
    WITHIN,
    WRITTEN,
    WRITTEN_DETAILS,
)

SIDES = ("input_tokens", "output_tokens")
UNREPORTED = "unreported"
"""The code of what is missing where a figure is not reported, and can't be counted either."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Holds what a call used: tokens, or what else its model is billed by. What is not known is None."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: Mapping[str, Any] = field(default_factory=dict)
    output_tokens_details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    """It is that of audio."""
    characters: int | None = None
    """It is that of the text that was to be spoken."""
    images: int | None = None
    """That are not billed by tokens, but by number, `size` and `quality`."""
    size: str | None = None
    quality: str | None = None
    other: Mapping[str, Any] = field(default_factory=dict)
    """Keys that are not known here, as they came."""
    raw: Any = None
    """The usage object as it came."""
    source: str = "api"
    """``api``: as reported; ``counted``: read from the exchange itself, exactly; ``estimate``."""
    missing: Sequence[str] = ()
    """It is what is not in the figures; docs/event.md says what the codes mean."""
    approximate: Sequence[str] = ()
    """It is what was in view, but could only be estimated."""
    reasoning_unplaced: bool = False
    """It tells whether no total tells if the reasoning is part of the output, as with most servers, or beside
    it."""

    def as_dict(self) -> dict[str, Any]:
        """Give the event's `usage`."""
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
        if self.missing or self.approximate:
            shown["complete"] = not self.missing
        if self.missing:
            shown["missing"] = list(self.missing)
        if self.approximate:
            shown["approximate"] = list(self.approximate)
        return {**shown, "source": self.source}

    @property
    def is_zero(self) -> bool:
        tokens = (self.input_tokens, self.output_tokens, self.total_tokens)
        return not any((*tokens, self.seconds, self.characters, self.images))

    @property
    def is_by_tokens(self) -> bool:
        return any(
            figure is not None for figure in (self.input_tokens, self.output_tokens, self.total_tokens)
        )

    @property
    def unreported(self) -> list[str]:
        """Give the sides of a usage by tokens that are not known."""
        return [side for side in SIDES if getattr(self, side) is None] if self.is_by_tokens else []

    def lacking(self, what: str) -> Usage:
        """Give the same, as a lower bound."""
        return self if what in self.missing else replace(self, missing=(*self.missing, what))

    def without(self, side: str) -> Usage:
        """Give the same, with a figure that is not believed taken for unknown, and the total that has it."""
        if side == "input_tokens":
            return replace(self, input_tokens=None, total_tokens=None)
        return replace(self, output_tokens=None, total_tokens=None)


def read(value: object) -> Usage | None:
    """Give the canonical form of a usage object; None for anything that is not one.

    >>> read({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}).output_tokens
    1
    >>> read({"prompt_tokens": "9", "input_tokens": 0, "completion_tokens": 1.0}).total_tokens
    10
    """
    stated = _stated(value)
    return None if stated is None else _resolved(stated)


def merge(values: Iterable[object]) -> Usage | None:
    """Give the usage of one answer that reports in several places or several times, given in order.

    Of each figure the last that is not zero counts: earlier ones are partial sums, a zero may follow, and
    some servers tell the input at the start and the output at the end.
    """
    reports = [stated for value in values if (stated := _stated(value)) is not None]
    if not reports:
        return None
    found = _resolved(reduce(_updated, reports))
    for report in reversed(reports):  # mostly the last one says it all
        if _plain(one := _resolved(report)) == _plain(found):
            return one
    return replace(found, raw=_plain(found))


def states_both(value: object) -> bool:
    """Tell whether a usage object says something of the input and of the output."""
    stated = _stated(value)
    return stated is not None and stated.input is not None and stated.output is not None


def total(usages: Iterable[Usage]) -> Usage | None:
    """Sum usages, for answers that bill in parts; a lower bound where one of them lacks a figure."""
    parts = list(usages)
    return reduce(_sum, parts) if parts else None


# --- what one object states


@dataclass(frozen=True, slots=True)
class _Stated:
    """Holds the figures of one usage object under one name each; None for what it does not state."""

    input: int | None
    output: int | None
    total: int | None
    beside: bool
    """It tells whether cached tokens have the names of those who count them beside the input."""
    heard: bool
    """It tells whether audio was heard whose tokens the total alone shows."""
    input_details: dict[str, Any]
    output_details: dict[str, Any]
    seconds: float | None
    raw: dict[str, Any]


def _stated(value: object) -> _Stated | None:
    if not isinstance(value, Mapping):
        return None
    found = _read_names(value) or _read_names({_snake(str(key)): item for key, item in value.items()})
    if found is None and (inner := next((value[name] for name in WITHIN if name in value), None)) is not None:
        return _stated(inner)
    return None if found is None else replace(found, raw=dict(value))


def _read_names(value: Mapping[str, Any]) -> _Stated | None:
    whole = _not_zero(_counts(value, TOTAL))
    given = _counts(value, INPUT) or [sum(parts) for parts in [_counts(value, INPUT_PARTS)] if len(parts) > 1]
    inputs, outputs = _pair(given, _counts(value, OUTPUT), whole)
    if inputs is not None:
        inputs += _count(value.get(INPUT_ON_TOP)) or 0
    heard = number(value.get(HEARD))
    seconds = heard or number(value.get("seconds"))
    if inputs is None and outputs is None and whole is None and seconds is None:
        return None
    return _Stated(
        inputs,
        outputs,
        whole,
        any(_count(value.get(name)) for name in BESIDE),
        bool(heard),
        _merged(
            _details(value, INPUT_DETAILS, INPUT_NAMES), {**_cached_by_kind(value), **_written_by_time(value)}
        ),
        _details(value, OUTPUT_DETAILS, OUTPUT_NAMES),
        seconds,
        {},
    )


def _pair(inputs: list[int], outputs: list[int], whole: int | None) -> tuple[int | None, int | None]:
    """Give the figures of both sides: the first that are not zero, and those that the total tells."""
    pairs = [(left, right) for left in inputs for right in outputs]
    if whole and (fitting := [pair for pair in pairs if sum(pair) == whole]):
        return fitting[0]
    return _not_zero(inputs), _not_zero(outputs)


def _not_zero(figures: Sequence[int]) -> int | None:
    return next((figure for figure in figures if figure), figures[0] if figures else None)


def _updated(before: _Stated, after: _Stated) -> _Stated:
    """Give what two reports of one answer state together."""
    says_side = bool(after.input or after.output)
    output = _later(before.output, after.output)
    if after.total and not says_side and before.input:
        output = None  # a sum alone is newer than the output before it, and tells it
    return _Stated(
        _later(before.input, after.input),
        output,
        after.total or (None if says_side else before.total),
        after.beside or before.beside,
        after.heard or before.heard,
        _merged(before.input_details, after.input_details),
        _merged(before.output_details, after.output_details),
        after.seconds or before.seconds,
        {**before.raw, **after.raw},
    )


def _later(before: int | None, after: int | None) -> int | None:
    return after or (after if before is None else before)


def _resolved(stated: _Stated) -> Usage:
    """Give the figures as the API means them: details within, nothing on top, one side told by the other."""
    inputs, outputs, whole = stated.input, stated.output, stated.total
    if inputs is not None and _is_cache_beside(stated, inputs, outputs or 0, whole):
        inputs += _cached(stated.input_details)
    heard = _heard(stated)
    inputs = inputs + heard if inputs is not None else None
    reasoning = stated.output_details.get("reasoning_tokens")
    unplaced = bool(outputs) and not whole and isinstance(reasoning, int) and 0 < reasoning <= (outputs or 0)
    if outputs is not None and isinstance(reasoning, int) and reasoning > outputs:
        # A part is not larger than the whole; a total that has the lesser figure is none.
        outputs, whole = (
            outputs + reasoning,
            None if whole and whole <= (inputs or 0) + outputs else whole,
        )
    if not inputs and whole and whole > (outputs or 0) and whole - (outputs or 0) != reasoning:
        inputs, outputs = None, outputs or None  # zero is no input; what the total has more is
    if inputs is not None and outputs is not None:
        # What only the total shows is thinking: x.ai and Gemini count it beside the output.
        outputs = max(outputs, (whole or 0) - inputs)
        whole = max(whole or 0, inputs + outputs)
    elif whole is not None and inputs is not None:
        outputs, whole = (whole - inputs, whole) if whole >= inputs else (None, None)
    elif whole is not None and outputs is not None:
        inputs, whole = (whole - outputs, whole) if whole >= outputs else (None, None)
    return Usage(
        inputs,
        outputs,
        whole,
        stated.input_details | ({"audio_tokens": heard} if heard else {}),
        stated.output_details,
        stated.seconds,
        other={
            key: item for key, item in stated.raw.items() if key not in KNOWN and _snake(key) not in KNOWN
        },
        raw=stated.raw,
        reasoning_unplaced=unplaced,
    )


def _is_cache_beside(stated: _Stated, inputs: int, outputs: int, whole: int | None) -> bool:
    """Tell whether the input leaves out the cached tokens, as Anthropic counts; the total, if any, tells."""
    cached = _cached(stated.input_details)
    if not cached:
        return False
    if whole == inputs + outputs + cached:
        return True
    return stated.beside and (not whole or (cached > inputs and whole <= inputs + outputs))


def _heard(stated: _Stated) -> int:
    """Give the tokens of audio that only the total shows."""
    if not (stated.heard and stated.total) or stated.input_details.get("audio_tokens"):
        return 0
    return max(0, stated.total - (stated.input or 0) - (stated.output or 0))


def _cached(details: Mapping[str, Any]) -> int:
    figures = (details.get("cached_tokens"), details.get("cache_write_tokens"))
    return sum(figure for figure in figures if isinstance(figure, int))


# --- sums


def _sum(first: Usage, second: Usage) -> Usage:
    figures = {name: _add(getattr(first, name), getattr(second, name)) for name in (*SIDES, "seconds")}
    whole = _add(first.total_tokens, second.total_tokens)
    result = Usage(
        **figures,
        total_tokens=whole,
        input_tokens_details=_add(first.input_tokens_details, second.input_tokens_details),
        output_tokens_details=_add(first.output_tokens_details, second.output_tokens_details),
        other=_add(first.other, second.other),
        missing=tuple(dict.fromkeys((*first.missing, *second.missing))),
        approximate=tuple(dict.fromkeys((*first.approximate, *second.approximate))),
    )
    result = replace(result, raw=_plain(result))
    return result.lacking(UNREPORTED) if first.unreported or second.unreported else result


def _add(first: Any, second: Any) -> Any:
    """Add number by number, at any depth; of other values give the last."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return {key: _add(first.get(key), second.get(key)) for key in {**first, **second}}
    if (left := number(first)) is not None and (right := number(second)) is not None:
        return left + right
    return first if second is None else second


def _plain(usage: Usage) -> dict[str, Any]:
    """Give a usage object of the API's own names, which reads as `usage`."""
    figures = {name: getattr(usage, name) for name in (*SIDES, "total_tokens", "seconds")}
    if usage.reasoning_unplaced:
        figures["total_tokens"] = None  # nobody told one
    details = {
        "input_tokens_details": dict(usage.input_tokens_details),
        "output_tokens_details": dict(usage.output_tokens_details),
    }
    known = {**figures, **details}
    return {name: item for name, item in known.items() if item not in (None, {})} | dict(usage.other)


# --- values

_DIGITS = re.compile(r"\s*\+?(?:\d{1,19}|\d{1,3}(?:[,_]\d{3}){1,5})(?:\.\d{1,19})?(?:[eE]\+?\d{1,2})?\s*")
_NO_WHOLE = re.compile(r"[.eE]")
_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")


def _snake(key: str) -> str:
    """Give `promptTokenCount` as `prompt_token_count`."""
    return _CAPITAL.sub(r"_\1", key).lower()


def number(value: object) -> float | None:
    """Give a number of zero or more that fits into 63 bits, also written as a text; not-a-number does not."""
    if value is None:
        return None  # nearly always: a usage has few of the names that there are
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = value.replace(",", "")
        value = float(value) if _NO_WHOLE.search(value) else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**63:
        return None
    return value


def _count(value: object) -> int | None:
    """Give a number of tokens; some servers write 12.0, and those that bill by a factor 12.4."""
    found = number(value)
    return None if found is None else math.floor(found + 0.5) if isinstance(found, float) else found


def _counts(value: Mapping[str, Any], names: tuple[str, ...]) -> list[int]:
    return [count for name in names if (count := _count(value.get(name))) is not None]


def _details(value: Mapping[str, Any], holders: tuple[str, ...], names: Mapping[str, str]) -> dict[str, Any]:
    """Give the numbers among the details, under the API's names; unknown ones under their own."""
    found: dict[str, Any] = {}
    for holder in holders:
        details = value.get(holder)
        for key, item in details.items() if isinstance(details, Mapping) else ():
            if (kept := _detail(item)) is not None:
                found = _merged({names.get(key, key): kept}, found)
    for key, name in names.items():
        if (count := _count(value.get(key))) is not None:
            found = _merged({name: count}, found)
    return found


def _cached_by_kind(value: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the image tool's usage tells of its cached tokens, in the form in which other usages do."""
    kinds = _detail(value.get(CACHED_DETAILS))
    if not isinstance(kinds, Mapping):
        return {}
    return {CACHED_DETAILS: {kind.removeprefix("cached_"): count for kind, count in kinds.items()}}


def _written_by_time(value: Mapping[str, Any]) -> dict[str, Any]:
    """Give what was written to the cache, by how long it is kept, as the API itself tells it."""
    group = value.get("cache_creation")
    holders = (value, group) if isinstance(group, Mapping) else (value,)
    found = {
        name: count
        for holder in holders
        for key, name in WRITTEN.items()
        if (count := _count(holder.get(key)))
    }
    return {WRITTEN_DETAILS: found} if found else {}


def _detail(item: object) -> Any:
    """Give a whole number as such; a group of them (the cached tokens by kind) as a group; else None."""
    if isinstance(item, Mapping):
        group = {key: kept for key, part in item.items() if (kept := _detail(part)) is not None}
        return group or None
    found = number(item)
    return int(found) if found is not None and found == found // 1 else found


def _merged(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two readings: of two figures for one thing the later holds, unless it is zero."""
    found = dict(before)
    for name, item in after.items():
        held = found.get(name)
        if isinstance(held, Mapping) and isinstance(item, Mapping):
            found[name] = _merged(held, item)
        else:
            found[name] = item or held or item
    return found

"""Count tokens from the text, where the API reported none.

The rules are in :mod:`addons.openai.counting`. What cannot be seen in the traffic (hidden reasoning, hosted
tools, history kept by the server) cannot be counted; then the figure is a lower bound, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from addons.openai.counting.counters import Counter
from addons.openai.counting.model import Model
from addons.openai.counting.tally import Approximate, Missing, Tally, by_length, mapping
from addons.openai.endpoints import COUNTERS

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{512,}={0,2}")
"""Images and files within a text that is not whole; they are not counted by their length."""


@dataclass(slots=True)
class Count:
    """Holds counted tokens of one call; None where nothing can be said."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    missing: list[Missing] = field(default_factory=list)
    """It is what the figures leave out; docs/event.md says what the codes mean."""
    lower_bound: list[str] = field(default_factory=list)
    """It says which of the two figures leave something out."""
    approximate: list[Approximate] = field(default_factory=list)
    """It is what was in view, but could only be estimated."""

    @property
    def complete(self) -> bool:
        """Tell whether everything that counts was in view."""
        return not self.missing

    @property
    def source(self) -> str:
        return "estimate" if self.missing or self.approximate else "tokenizer"

    def lack(self, side: Literal["input_tokens", "output_tokens"], code: Missing) -> None:
        """Take the figure of a side for a lower bound."""
        self.missing += [code] * (code not in self.missing)
        self.lower_bound += [side] * (side not in self.lower_bound)

    def as_dict(self) -> dict[str, Any]:
        """Give the event's `usage`."""
        both = self.input_tokens is not None and self.output_tokens is not None
        shown: dict[str, Any] = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": (self.input_tokens or 0) + (self.output_tokens or 0) if both else None,
            "input_tokens_details": {},
            "output_tokens_details": {},
            "complete": self.complete,
        }
        for name in ("missing", "lower_bound", "approximate"):
            if codes := getattr(self, name):
                shown[name] = codes
        return {**shown, "source": self.source}


def count(endpoint: str, model: str | None, request: Any, output: Any) -> Count:
    """Count a call by the counter of its endpoint, where that has one: see :func:`count_by`."""
    return count_by(COUNTERS.get(endpoint), model, request, output)


def count_by(counter: Counter | None, model: str | None, request: Any, output: Any) -> Count:
    """Count a call from its request and (assembled) answer.

    `model` is the one that answered, where the answer says so: it may be newer than the one asked for. Never
    raises, whatever is in the bodies. Takes about 0.1 ms for a short call and 60 ms per MB of prose, at most
    some 4 s (see `counting.tokenizer.BUDGET`), and 0.3 s to load a vocabulary, once: never on the event loop.
    """
    counted = Model.of(model)
    given = _count_input(counter, counted, request, output)
    answered = _count_output(counter, counted, request, output)
    if given is None and not (answered and answered.tokens):
        return Count(missing=["request"])
    result = Count()
    missing: dict[Missing, None] = {} if given else {"request": None}
    approximate = counted.n.doubts()
    if given is not None:
        result.input_tokens = given.tokens
    if answered is not None:
        result.output_tokens = answered.tokens
    for name, tally in (("input_tokens", given), ("output_tokens", answered)):
        if tally is None:
            continue
        if tally.missing:
            result.lower_bound.append(name)
        missing |= tally.missing
        approximate |= tally.approximate
    result.missing, result.approximate = list(missing), list(approximate)
    return result


def _count_input(counter: Counter | None, model: Model, request: Any, output: Any) -> Tally | None:
    if isinstance(request, str):
        return _not_whole(request, "request")
    if not isinstance(request, Mapping):
        return None
    return counter.input(model, request, mapping(output)) if counter else None


def _count_output(counter: Counter | None, model: Model, request: Any, output: Any) -> Tally | None:
    if counter is not None and counter.output is None:
        return Tally()
    if isinstance(output, str):
        # JSON that broke off, or another server's page.
        return _not_whole(output, "cut") if output.lstrip()[:1] in ("{", "[") else None
    if counter is None or counter.output is None:
        return None
    return counter.output(model, mapping(request), mapping(output))


def _not_whole(written: str, code: Missing) -> Tally:
    """Count JSON that was cut: what is there of it, by its length."""
    tally = Tally(by_length(_BASE64.sub("", written)))
    tally.lack(code)
    tally.guess("not_whole")
    return tally

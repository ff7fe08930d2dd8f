"""Play the bad days of an API, by the name of the model: ``stand-in/429`` is answered as a busy API answers.

An evaluator sees what the proxy makes of them, an application's team rehearses them. Any endpoint that takes
a model has them; `stand-in/NAME@MODEL` answers as MODEL otherwise, so that its price is known.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from scripts.quickstart import standin_answers as answers

PREFIX = "stand-in/"
T = TypeVar("T")


class Cut(Exception):
    """The connection ends here, in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Says what goes wrong with an answer."""

    note: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: tuple[str, str, str | None] | None = None
    """Message, type and code of the API's error object."""
    seconds: float = 0.0
    """It is what each piece is late by."""
    page: bool = False
    """An HTML page comes, as from a proxy on the way."""
    usage: bool = True
    cut: bool = False

    def pieces(self, stream: Iterator[str]) -> Iterator[str]:
        """Yield a stream as it comes on such a day. Raises Cut."""
        return self._late(stream, _without_usage)

    def events(self, stream: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the events of a socket as they come on such a day. Raises Cut."""
        return self._late(stream, _event_without_usage)

    def _late(self, stream: Iterator[T], without_usage: Callable[[T], T]) -> Iterator[T]:
        for number, each in enumerate(stream):
            time.sleep(self.seconds)
            if self.cut and number == CUT_AFTER:
                raise Cut
            yield each if self.usage else without_usage(each)

    def answer(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return an answer in one piece as it comes on such a day."""
        time.sleep(self.seconds)
        return value if self.usage else {name: each for name, each in value.items() if name != "usage"}


CUT_AFTER = 8
"""Events; by then some words have come."""

NONE = Trouble("nothing")
TROUBLES = {
    "429": Trouble(
        "too many requests",
        429,
        {"retry-after": "2", "retry-after-ms": "2000", "x-ratelimit-remaining-requests": "0"},
        (
            "Rate limit reached for requests. The stand-in was asked for this.",
            "requests",
            "rate_limit_exceeded",
        ),
    ),
    "quota": Trouble(
        "the account has no money left",
        429,
        {},
        (
            "You exceeded your quota. The stand-in was asked for this.",
            "insufficient_quota",
            "insufficient_quota",
        ),
    ),
    "500": Trouble(
        "the server has an error",
        500,
        {},
        ("The server had an error. The stand-in was asked for this.", "server_error", None),
    ),
    "503": Trouble(
        "the server is overloaded",
        503,
        {"retry-after": "1"},
        ("The engine is overloaded. The stand-in was asked for this.", "server_error", "overloaded"),
    ),
    "slow": Trouble("each piece takes half a second", seconds=0.5),
    "cut": Trouble("the connection ends in the middle of the answer", cut=True),
    "no-usage": Trouble("the answer does not say what it used", usage=False),
    "html": Trouble("a page of some proxy comes in place of an answer", page=True),
}


def of_model(model: Any) -> tuple[Trouble, str | None]:
    """Return the trouble that a model's name asks for, and the model to answer as.

    Raises KeyError for a trouble that there is not.
    """
    if not isinstance(model, str) or not model.startswith(PREFIX):
        return NONE, None
    name, _, other = model.removeprefix(PREFIX).partition("@")
    return TROUBLES[name], other or None


def unknown() -> str:
    """Return what is said to whoever asks for a trouble that there is not."""
    return f"There is no such day; there are {', '.join(f'{PREFIX}{name}' for name in TROUBLES)}."


def _without_usage(event: str) -> str:
    """Return an event without the usage in it."""
    name, mark, data = event.partition("data: ")
    if not data.startswith("{"):
        return event
    return f"{name}{mark}{json.dumps(_event_without_usage(json.loads(data)))}\n\n"


def _event_without_usage(event: dict[str, Any]) -> dict[str, Any]:
    left = {name: value for name, value in event.items() if name != "usage"}
    if isinstance(left.get("response"), dict):
        left["response"] = {name: value for name, value in left["response"].items() if name != "usage"}
    return left


def page() -> bytes:
    return b"<!DOCTYPE html><title>Sign in</title><p>" + answers.TEXT.encode()

"""Hold the upper bounds of one call, and what the rows of endpoints say of how they are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from addons.openai.bounds.output_limits import OutputLimits

Body = Mapping[str, Any]


@dataclass(slots=True)
class UsageBound:
    """Holds upper bounds of what one call can be billed for."""

    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    """Read out by a model that is billed by them."""
    seconds: int = 0
    """It is that of sound, for a model that is billed by them."""
    images: int = 0
    """Made by a model that is billed by them."""
    hosted: dict[str, int] = field(default_factory=dict)
    """Calls of the API's own tools, named as in events."""
    memory: str = "1g"
    """It is that of the containers; the smallest one is the API's default."""
    given: set[str] = field(default_factory=set)
    """It is what the input may be beside text: audio, image."""
    made: set[str] = field(default_factory=set)
    """It is what the output may be beside text."""
    tier: str | None = None
    """The service tier that is asked for, unless that is the standard one."""
    unbounded: str | None = None
    """It says why there is no bound; the figures then are none either."""

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class BoundedRequest:
    """Holds a request of which the upper bounds are told."""

    body: Body
    output: OutputLimits
    """It says how requests of its endpoint limit their answers."""
    exact: bool
    """It tells whether the input's tokens are counted; else its bytes stand for them, which takes far less
    time."""


Bound = Callable[[UsageBound, BoundedRequest], None]
"""Sets the figures of a request, whose model and tier are in the bound already. Never raises."""


@dataclass(frozen=True, slots=True)
class UploadBound:
    """Says how to bound an upload that is passed on as it comes, so that its fields are not known."""

    models: tuple[str, ...]
    """It says whose prices bound it: its own model does not show in time."""
    most: Callable[[int | None], UsageBound]
    """Gives the upper bounds of an upload of so many bytes, where that is known."""


def text_of(value: Any) -> bytes:
    """Write a JSON value about as on the wire: its keys and texts."""
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return b""

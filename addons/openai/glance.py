"""Read what a request asks for in microseconds: the event loop waits for the answer.

An exact count of the input takes milliseconds; here it is estimated from the length of its texts, and rather
too low than too high.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from addons.openai.agent_session import AgentSession, session_in
from addons.openai.users import users_in

PARSED_BYTES = 32 * 1024
"""Longer bodies are not parsed here; their model is looked for at both ends."""
CHARACTERS_PER_TOKEN = 4
"""A common rule of thumb for English; other scripts have fewer."""
MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,128})"')
ENDS = 2048
INLINE_DATA = (b";base64,", b'_data"')

TEXTS = frozenset({"messages", "content", "text", "input", "prompt", "instructions", "arguments", "output"})
"""Keys below which a string is text for the model."""


@dataclass(frozen=True, slots=True)
class Glance:
    """Holds what a request asks for; None where nothing could be told."""

    model: str | None = None
    stream: bool | None = None
    users: Mapping[str, str] = field(default_factory=dict)
    """Those whom the request names, by member."""
    input_tokens: int | None = None
    """Estimated."""
    session: AgentSession | None = None
    """It is what its `client_metadata` says of an agent's session."""


def glance(body: bytes) -> Glance:
    """Look at a JSON request body. Never raises."""
    if len(body) > PARSED_BYTES:
        return _at_the_ends(body)
    try:
        value = json.loads(body) if body else None
    except (ValueError, RecursionError):
        return Glance()
    return glance_at(value)


def glance_at(value: Any) -> Glance:
    """Give the same for a body that has been parsed."""
    if not isinstance(value, dict):
        return Glance()
    model = value.get("model")
    return Glance(
        model if isinstance(model, str) and model else None,
        value.get("stream") is True,
        users_in(value.get("safety_identifier"), value.get("user"), value.get("metadata")),
        _characters(value) // CHARACTERS_PER_TOKEN,
        session_in(value),
    )


def _at_the_ends(body: bytes) -> Glance:
    match = MODEL.search(body[:ENDS]) or MODEL.search(body[-ENDS:])
    model = match[1].decode("utf-8", "replace") if match else None
    return Glance(model, input_tokens=_by_length(body))


def _by_length(body: bytes) -> int | None:
    # Images and files are billed by other rules than their length.
    return None if any(mark in body for mark in INLINE_DATA) else len(body) // CHARACTERS_PER_TOKEN


def _characters(value: Mapping[str, Any]) -> int:
    """Give the length of all text for the model in `value`."""
    total = 0
    todo = [item for key, item in value.items() if key in TEXTS]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, list):
            todo += item
        elif isinstance(item, dict):
            todo += [inner for key, inner in item.items() if key in TEXTS]
    return total

"""Read which session of an agent a request is part of, as Codex names it. All of it is the client's claim.

Codex says it in headers (``session_id`` or ``session-id``, ``x-codex-turn-metadata``: a JSON object) and in
the body's ``client_metadata`` (the same object below that name, and single texts). On a WebSocket the headers
are those of the handshake, so what the body says comes first. Others, such as the Agents SDK, can send the
header ``session-id``. None of these names is an object of the API's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TURN_METADATA = "x-codex-turn-metadata"
LONGEST = 128
"""Characters of an id; Codex's are UUIDs."""
LONGEST_METADATA = 2048
"""It is that of one text of `client_metadata`; the API drops longer ones."""
SOURCES = ("user", "subagent")
NAMES = {"id": "session_id", "thread": "thread_id", "turn": "turn_id", "source": "thread_source"}


@dataclass(frozen=True, slots=True)
class AgentSession:
    """Says where a call belongs, as its client says; None for what it does not say."""

    id: str | None = None
    """It is that of the root thread and all its subagents together."""
    thread: str | None = None
    """The one that calls."""
    turn: str | None = None
    source: str | None = None
    """user or subagent: who started the thread."""


def session_of(headers: Iterable[tuple[str, str]], said: AgentSession | None = None) -> AgentSession | None:
    """Give the session that a request names; `said` is what its body says. None without an id.

    >>> session_of([("session-id", "s1")])
    AgentSession(id='s1', thread=None, turn=None, source=None)
    """
    values = {name.lower().replace("_", "-"): value for name, value in headers}
    texts = {"session_id": values.get("session-id"), "thread_id": values.get("thread-id")}
    by_headers = _read([_object(values.get(TURN_METADATA)), texts])
    found = AgentSession(*(_first(said, by_headers, name) for name in NAMES))
    return found if found.id is not None else None


def session_in(body: Any) -> AgentSession | None:
    """Give what the ``client_metadata`` of a JSON request says; None where it has none. Never raises."""
    metadata = body.get("client_metadata") if isinstance(body, Mapping) else None
    if not isinstance(metadata, Mapping):
        return None
    return _read([_object(metadata.get(TURN_METADATA)), metadata])


def _read(places: list[Mapping[str, Any]]) -> AgentSession:
    found = {
        name: next((text for place in places if (text := _text(place.get(key))) is not None), None)
        for name, key in NAMES.items()
    }
    if found["source"] not in SOURCES:
        found["source"] = None
    return AgentSession(**found)


def _first(said: AgentSession | None, by_headers: AgentSession, name: str) -> str | None:
    text: str | None = getattr(said, name) if said is not None else None
    return text if text is not None else getattr(by_headers, name)


def _object(text: Any) -> Mapping[str, Any]:
    if not isinstance(text, str) or len(text) > LONGEST_METADATA:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    usable = isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable()
    return value if usable and value == value.strip() else None

"""Read what a client says over a WebSocket (Realtime, Responses), strictly: for decisions.

An event is one JSON object. Of Responses there are three kinds, `response.create`, `response.steer` and
`response.inject`; Realtime has a dozen, and any of them may name a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from addons.openai.http.values import Json
from addons.openai.requested_model import Asked

ASKS = "response.create"
APPENDS = "input_audio_buffer.append"
STEERS = "response.steer"
"""Adds to an answer of Responses that is under way; the server then begins another one by itself."""
INJECTS = "response.inject"
"""Gives an answer of Responses that is under way what it waits for, such as a tool's output; it goes on."""
OF_RESPONSES = frozenset({ASKS, STEERS, INJECTS})

UNREAD = frozenset({"tools", "item", "metadata", "variables", "schema", "parameters"})
"""Members of a client's event that hold a user's own names, or nothing that chooses the session's model.

So does a list ``input``; ``audio.input`` is another matter."""


class _Head(msgspec.Struct):
    type: Any = None
    response_id: Any = None
    event_id: Any = None
    stream_id: Any = None
    previous_response_id: Any = None
    sequence_number: Any = None


_decode_head = msgspec.json.Decoder(_Head).decode


def read_head(data: bytes) -> Mapping[str, Any]:
    """Read `type` and the ids of an event, without reading the rest of it; empty if it is none.

    Most frames hold sound, tens of kilobytes of it.
    """
    try:
        return msgspec.structs.asdict(_decode_head(data))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return as_object(data)  # by a more lenient parser


def is_sound(data: bytes) -> bool:
    """Tell whether a client's event of a realtime session is sound, and can be read as nothing else."""
    return read_head(data).get("type") == APPENDS and data.count(b'"type"') == 1 and b"\\u" not in data


def as_object(data: bytes) -> Json:
    """Give an event as a whole; empty if it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def unclear(data: bytes) -> str | None:
    """Say why two parsers might take a client's event for two different ones; None where they can't.

    >>> unclear(b'{"type": "response.create", "type": "response.steer"}')
    "the key 'type' stands twice"
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_without_doubles)
    except _Doubled as error:
        return f"the key {error.args[0]!r} stands twice"
    except (ValueError, RecursionError):
        return "it is no JSON"
    return None if isinstance(value, dict) else "it is no JSON object"


class _Doubled(Exception):
    pass


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Doubled(next(key for key in keys if keys.count(key) > 1))
    return found


def models_named(data: bytes) -> Iterator[Asked]:
    """Give every model that a client's event names.

    Transcription models count too. What a session's tools or a user's own data call so does not.

    >>> list(models_named(b'{"type": "session.update", "session": {"model": "gpt-realtime"}}'))
    [Asked(model='gpt-realtime', unknown=None)]
    """
    lowered = data.lower()
    if b"model" not in lowered and b"\\u" not in lowered and b"\x00" not in data:
        return
    try:
        todo: list[Any] = [json.loads(data.decode("utf-8-sig"))]
    except (ValueError, RecursionError):
        yield Asked(unknown="the event is no JSON")
        return
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo += value
        if not isinstance(value, dict):
            continue
        for key, member in value.items():
            name = key.strip().lower()
            if name == "model" and (key != name or not isinstance(member, str | None)):
                yield Asked(unknown="a key is nearly 'model', or its value is no text")
            elif name == "model" and member:
                yield Asked(member)
            elif name == "models" and member:
                yield Asked(unknown="the event names alternative models")
            elif key not in UNREAD and not (key == "input" and isinstance(member, list)):
                todo.append(member)

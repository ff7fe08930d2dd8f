"""A stream's events become the object that the same call returns without streaming.

Which one is told by the events themselves, since gateways serve the API under paths of their own; the
endpoint only where they are mute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from addons.openai.answers import (
    assemble,
    assemble_agents,
    assemble_media,
    assemble_responses,
    assemble_threads,
    errors,
)
from addons.openai.endpoint import Assemble
from addons.openai.http.values import Json, objects, text

BY_TYPE: tuple[tuple[str, Assemble], ...] = (
    ("response.", assemble_responses.response),
    ("agent.session.", assemble_agents.turn),
    ("transcript.text.", assemble_media.transcription),
    ("speech.audio.", assemble_media.speech),
    ("image_generation.", assemble_media.images),
    ("image_edit.", assemble_media.images),
)
"""By what an event's `type` begins with."""


def whole(events: Sequence[Json], mute: Assemble | None = None) -> Any:
    """Give the object that a stream's events make up; None where they are of a known kind and tell nothing.

    `mute`: the assembler for events that do not say what they are.
    Events of no known kind are kept as they are, under ``{"object": "event_stream", "events": [...]}``.
    """
    # An error has no place in the object, unless it came within a chunk.
    parts = [event for event in events if _tells_more(event) or errors.of_event(event) is None]
    how = next((found for event in parts if (found := _kind(event)) is not None), mute)
    if how is None:
        return {"object": "event_stream", "events": parts} if parts else None
    return how(parts)


def _tells_more(event: Json) -> bool:
    return any(key in event for key in ("choices", "response", "object", "session", "turn"))


def _kind(event: Json) -> Assemble | None:
    if text(event.get("object")).startswith("thread"):
        return assemble_threads.run
    kind = text(event.get("type"))
    for start, how in BY_TYPE:
        if kind.startswith(start):
            return how
    choices = objects(event.get("choices"))
    if any("delta" in choice or "message" in choice for choice in choices):
        return assemble.chat
    return assemble.completion if any("text" in choice for choice in choices) else None

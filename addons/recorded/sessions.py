"""WebSocket sessions of recordings (Responses and Realtime), taken apart into the answers that were billed.

A session holds any number of answers. Each becomes an exchange of its own: the client's last
``response.create`` is its request, the server's events up to its end are its event stream, as they would have
come over HTTP. A transcription within a realtime session is billed apart, and is one of its own too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from addons.recorded.exchange import Recorded

ENDS = frozenset(
    {
        "response.completed",
        "response.done",
        "response.failed",
        "response.incomplete",
        "response.cancelled",
        "error",
    }
)
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
ASKS = "response.create"
BEGINS = "response.created"


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of a session."""

    from_client: bool
    data: bytes
    at: float | None = None
    """Seconds since the epoch."""


@dataclass(slots=True)
class Turn:
    """An answer, and what asked for it."""

    asked: bytes = b""
    events: list[bytes] = field(default_factory=list)
    started: float | None = None
    ended: float | None = None
    whole: bool = False


def split(session: Recorded, frames: Iterable[Frame]) -> Iterator[Recorded]:
    """One exchange for each answer of `session`; the session itself where there was none."""
    count = 0
    for count, turn in enumerate(turns(frames), 1):
        yield _exchange(session, turn, count)
    if not count:
        yield session


def turns(frames: Iterable[Frame]) -> Iterator[Turn]:
    """The answers, in the order of their ends; one that the session broke off comes last."""
    open_: Turn | None = None
    for frame in frames:
        kind = _type_of(frame.data)
        if frame.from_client:
            if kind == ASKS:
                if open_ is not None and open_.events:
                    yield open_
                open_ = Turn(frame.data, started=frame.at)
            continue
        if kind == TRANSCRIBED:
            yield Turn(b"", [frame.data], frame.at, frame.at, whole=True)
            continue
        if kind == BEGINS and open_ is None:  # the server answers unasked where it heard speech
            open_ = Turn(started=frame.at)
        if open_ is None or kind is None:
            continue
        open_.events.append(frame.data)
        open_.ended = frame.at
        if kind in ENDS:
            open_.whole = True
            yield open_
            open_ = None
    if open_ is not None:
        yield open_


def _exchange(session: Recorded, turn: Turn, number: int) -> Recorded:
    started = datetime.fromtimestamp(turn.started, UTC) if turn.started else session.started_at
    length = max(0.0, turn.ended - turn.started) if turn.started and turn.ended else 0.0
    headers = [pair for pair in session.request_headers if pair[0].lower() not in ("upgrade", "content-type")]
    return replace(
        session,
        request_headers=[*headers, ("upgrade", "websocket"), ("content-type", "application/json")],
        request_body=turn.asked,
        response_headers=[("content-type", "text/event-stream")],
        response_body=b"".join(b"data: %b\n\n" % b" ".join(event.splitlines()) for event in turn.events),
        decoded=True,
        started_at=started,
        duration=length,
        first_byte=None,
        outcome="ok" if turn.whole else session.outcome if session.outcome != "ok" else "upstream_aborted",
        key=None if session.key is None else f"{session.key}/{number}",
    )


def _type_of(data: bytes) -> str | None:
    """The `type` of a JSON event; None for sound and anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None

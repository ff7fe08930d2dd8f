"""Take sessions over a WebSocket (Realtime, Responses) apart into the answers that are billed.

A session holds any number of answers. A realtime session tells them apart by the response's id, several may
be under way at once, and the server begins some unasked, where it hears speech. Those of Responses come one
after the other within a lane (`stream_id`), of which there may be several; the server begins one unasked
where the client steered the one before. A transcription within a realtime session is billed apart, by the
item's id, at its own model's price. Each answer becomes an exchange as it would have come over HTTP. Source:
the API reference (Realtime client and server events, Responses over WebSocket) and the official SDK's types.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from addons.openai.http.binary import size, without_binary
from addons.openai.http.values import Json, text
from addons.openai.realtime.client_events import APPENDS, ASKS, STEERS, as_object, read_head

ENDS = frozenset(
    {"response.completed", "response.done", "response.failed", "response.incomplete", "response.cancelled"}
)
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
BEGINS = "response.created"
ERROR = "error"
STATES_SESSION = frozenset(
    {
        *("session.created", "session.updated", "session.started"),
        *("transcription_session.created", "transcription_session.updated"),
    }
)
SESSION_USAGE, SESSION_CLOSED = "session.usage.updated", "session.closed"
"""It is that of a Live session: what all of it has used so far, never to be summed; and the same at its
end."""
NESTED_RESPONSE, NESTED_DECISION = "response.event", "decision.event"
"""It is that of a Live session: an event of an answer that it has had made by another model; a decision,
whole."""
SOUND = frozenset({"response.output_audio.delta", "response.audio.delta"})
"""Events that hold nothing but sound, under their names of now and of the beta."""

KEPT = 2**20
"""Bytes of an unfinished answer's events that are kept; its last event says everything again."""
ASKED = 100
"""Requests that wait for their answer, at most."""
ASKED_BYTES = 64 * 2**20
"""Size of all of them together, at most."""
REMEMBERED = 10_000
"""Ids of answers that are over, which do not begin again."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Holds one message of a session."""

    from_client: bool
    data: bytes
    at: float | None = None
    """Seconds since the epoch."""


@dataclass(slots=True)
class Turn:
    """Holds an answer, and what asked for it."""

    asked: bytes = b""
    """The client's event, without sound; empty where the server began by itself."""
    asked_id: str = ""
    """The `event_id` that the client gave it."""
    lane: str = ""
    """Its `stream_id`: answers in one lane come one after the other."""
    continues: str = ""
    """The `previous_response_id` that was asked for."""
    id: str | None = None
    """It is that of the response, or of the item that was transcribed."""
    model: str | None = None
    """That the server said it would use."""
    events: list[bytes] = field(default_factory=list)
    started: float | None = None
    first: float | None = None
    """It says when the first event after its beginning came."""
    ended: float | None = None
    begun: bool = False
    """It tells whether the server has begun it."""
    over: bool = False
    whole: bool = False
    """It tells whether the server ended it; False where the session ended before."""
    transcription: bool = False
    plain: bool = False
    """It tells whether its one event is the whole answer, and no stream."""
    usage: Any = None
    """As reported."""
    size: int = 0
    doubtful: bool = False
    """It tells whether an error came that may have been about this request."""
    event_id: str = ""
    """For whoever records it, as are the next two: the id under which it is known."""
    counted: bool = False
    """It tells whether it was held against the limits."""
    opened: bool = False
    """It tells whether it was written down."""

    def add(self, data: bytes, at: float | None) -> None:
        """Keep an event, if there is room; the first one is never without."""
        self.ended = at
        if self.events and self.first is None:
            self.first = at
        if not self.events or self.size + len(data) <= KEPT:
            self.events.append(data)
            self.size += len(data)

    def answer(self) -> tuple[str, bytes]:
        """Give content type and body, as the answer would have come over HTTP."""
        if self.plain:
            return "application/json", self.events[0]
        return "text/event-stream", b"".join(b"data: %b\n\n" % b" ".join(e.splitlines()) for e in self.events)


class Turns:
    """Follows one session, frame by frame. Never raises for what is in them."""

    def __init__(self, *, sequential: bool) -> None:
        self.model: str | None = None
        """It is that of the session, as the server said."""
        self.transcription_model: str | None = None
        self.sequential = sequential
        """Responses: one answer at a time in each lane."""
        self._asked: list[Turn] = []
        self._steered: OrderedDict[str, Turn] = OrderedDict()
        """It is what clients added to answers, by the id of those."""
        self._open: dict[str, Turn] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        self._session: Turn | None = None
        """It is that of a Live session: what is billed by its time."""
        self._session_id = ""

    @property
    def full(self) -> bool:
        """Tell whether no more requests should come before answers do."""
        return len(self._asked) >= ASKED or sum(len(turn.asked) for turn in self._asked) > ASKED_BYTES

    @property
    def idle(self) -> bool:
        """Tell whether no answer is under way, or waited for."""
        return not self._open and not self._asked

    def take(self, frame: Frame) -> list[Turn]:
        """Give the answers that are asked for, begun or `over` with this frame."""
        head = read_head(frame.data)
        kind = text(head.get("type"))
        if frame.from_client:
            return self._ask(frame, head, kind)
        if kind in STATES_SESSION:
            self._learn(as_object(frame.data))
        elif kind == BEGINS:
            return self._begin(frame)
        elif kind in ENDS:
            return self._end(frame)
        elif kind == TRANSCRIBED:
            return [self._transcribed(frame)]
        elif kind == ERROR:
            return self._fail(frame, head)
        elif kind in (SESSION_USAGE, SESSION_CLOSED):
            return self._use(as_object(frame.data), frame.at)
        elif kind == NESTED_RESPONSE:
            nested = json.dumps(as_object(frame.data).get("event")).encode()
            return self.take(Frame(False, nested, frame.at)) if b'"response.event"' not in nested else []
        elif kind == NESTED_DECISION:
            return self._decided(as_object(frame.data), frame.at)
        elif kind not in SOUND:
            turn = self._turn_of(head)
            if turn is not None:
                turn.add(frame.data, frame.at)
        return []

    def rest(self) -> list[Turn]:
        """Give what the session's end leaves: answers that it broke off, and requests that had none."""
        left = [*self._open.values(), *(turn for turn in self._asked if not turn.doubtful)]
        if self._session is not None:
            left.append(self._session)
            self._session.whole, self._session = True, None  # what it has used is known
        self._open.clear()
        self._asked.clear()
        for turn in left:
            turn.over = True
        return left

    def _ask(self, frame: Frame, head: Mapping[str, Any], kind: str) -> list[Turn]:
        if kind not in (ASKS, STEERS):
            return []
        turn = asked_with(frame, head)
        if kind == STEERS:
            remember(self._steered, turn.continues, turn, ASKED)
            return []
        if not self.sequential and len(self._asked) >= ASKED:
            self._asked.pop(0)  # its answer will be told apart by its id; only the request is lost
        self._asked.append(turn)
        return [turn]

    def _turn_of(self, head: Mapping[str, Any]) -> Turn | None:
        """Give the turn of an event.

        Realtime names the response in each; Responses leave it out, having one in each lane.
        """
        if isinstance(id_ := head.get("response_id"), str):
            return self._open.get(id_)
        return self._running(text(head.get("stream_id"))) if self.sequential else None

    def _running(self, lane: str) -> Turn | None:
        return next((turn for turn in self._open.values() if turn.lane == lane), None)

    def _waiting(self, lane: str) -> Turn | None:
        """Give the request that is next in its lane; Realtime has only one."""
        return next((turn for turn in self._asked if turn.lane == lane or not self.sequential), None)

    def _begin(self, frame: Frame) -> list[Turn]:
        event = as_object(frame.data)
        id_, lane = _response_id(event), text(event.get("stream_id"))
        # A stand-in server may use one id for all its answers.
        again = self.sequential and self._waiting(lane)
        if id_ in self._open or (id_ in self._over and not again):
            return []
        self._over.pop(id_, None)
        turn = self._requested(event, frame.at)
        turn.id, turn.model, turn.begun = id_, self.model, True
        turn.add(frame.data, frame.at)
        self._open[id_] = turn
        return [turn]

    def _requested(self, event: Json, at: float | None) -> Turn:
        """Find the request that an answer belongs to, no longer waiting; a new one where it came unasked."""
        lane, response = text(event.get("stream_id")), event.get("response")
        previous = text(response.get("previous_response_id")) if isinstance(response, dict) else ""
        waiting, steered = self._waiting(lane), self._steered.pop(previous, None)
        if steered is not None and (waiting is None or waiting.continues != previous):
            steered.lane = lane
            return steered
        if waiting is None:
            return Turn(lane=lane, started=at)
        self._asked.remove(waiting)
        return waiting

    def _end(self, frame: Frame) -> list[Turn]:
        event = as_object(frame.data)
        id_ = _response_id(event)
        if id_ in self._over:
            return []
        turn = self._open.pop(id_, None)
        if turn is None:
            turn = self._requested(event, frame.at) if self.sequential else Turn(started=frame.at)
            turn.id, turn.model = id_, self.model
        response = event.get("response")
        turn.usage = response.get("usage") if isinstance(response, dict) else None
        turn.size = 0  # there is always room for the last event
        turn.add(frame.data, frame.at)
        turn.over = turn.whole = True
        if id_:
            remember(self._over, id_, None, REMEMBERED)
        return [turn]

    def _transcribed(self, frame: Frame) -> Turn:
        event = as_object(frame.data)
        usage = event.get("usage")
        answer = {"id": event.get("item_id"), "object": "realtime.transcription"}
        answer |= {"text": event.get("transcript"), "usage": usage}
        turn = Turn(id=text(event.get("item_id")), model=self.transcription_model, started=frame.at)
        turn.add(json.dumps(answer).encode(), frame.at)
        turn.transcription, turn.plain, turn.usage = True, True, usage
        turn.over = turn.whole = True
        return turn

    def _use(self, event: Json, at: float | None) -> list[Turn]:
        """Give what a Live session has used until now: the last word counts."""
        self._learn(event)
        fresh = self._session is None
        turn = self._session = self._session or Turn(model=self.model, started=at, begun=True, plain=True)
        turn.usage, turn.ended = event.get("usage"), at
        closed = event.get("type") == SESSION_CLOSED
        known = {"id": self._session_id or None, "model": self.model, "usage": turn.usage}
        known |= {"object": "live.session", "status": "completed" if closed else "in_progress"}
        turn.events = [json.dumps(known).encode()]
        if closed:
            turn.over = turn.whole = True
            self._session = None
        return [turn] if fresh or turn.over else []

    def _decided(self, event: Json, at: float | None) -> list[Turn]:
        """Give a decision that a Live session had made: an answer of its own."""
        nested = event.get("event")
        decision = nested.get("decision") if isinstance(nested, dict) else None
        if not isinstance(decision, dict):
            return []
        turn = Turn(
            model=text(decision.get("model")) or None, started=at, plain=True, usage=decision.get("usage")
        )
        turn.add(json.dumps(decision).encode(), at)
        turn.over = turn.whole = True
        return [turn]

    def _fail(self, frame: Frame, head: Mapping[str, Any]) -> list[Turn]:
        """Take an error: of Responses it ends the answer; of Realtime it says a client's event failed."""
        if not self.sequential:
            self._doubt(as_object(frame.data))
            return []
        lane = text(head.get("stream_id"))
        running, waiting = self._running(lane), self._waiting(lane)
        # One that is numbered belongs to the answer's own stream, another to a request that has none yet.
        about_running = running is not None and (head.get("sequence_number") is not None or waiting is None)
        if about_running and running is not None:
            turn = self._open.pop(running.id or "")
        elif waiting is not None:
            turn = waiting
            self._asked.remove(waiting)
        else:
            return []
        turn.add(frame.data, frame.at)
        turn.over = turn.whole = True
        return [turn]

    def _doubt(self, event: Json) -> None:
        """Doubt the requests of which one failed; without its name it may be any."""
        error = event.get("error")
        about = text(error.get("event_id")) if isinstance(error, dict) else ""
        named = [turn for turn in self._asked if about and turn.asked_id == about]
        for turn in named:
            self._asked.remove(turn)
        for turn in self._asked if not about else ():
            turn.doubtful = True

    def _learn(self, event: Json) -> None:
        """Learn the models of a session, as the server states them."""
        session = event.get("session")
        if not isinstance(session, dict):
            return
        self.model = text(session.get("model")) or self.model
        self._session_id = text(session.get("id")) or self._session_id
        audio = session.get("audio")
        heard = audio.get("input") if isinstance(audio, dict) else None
        places = (
            heard.get("transcription") if isinstance(heard, dict) else None,
            session.get("input_audio_transcription"),
        )
        for place in places:
            if isinstance(place, dict):
                self.transcription_model = text(place.get("model")) or self.transcription_model


def asked_with(frame: Frame, head: Mapping[str, Any]) -> Turn:
    """Give the answer that a client's event asks for, before there is any of it."""
    return Turn(
        without_sound(frame.data),
        asked_id=text(head.get("event_id")),
        lane=text(head.get("stream_id")),
        continues=text(head.get("previous_response_id")),
        started=frame.at,
    )


def remember(those: OrderedDict[str, Any], key: str, value: Any, most: int) -> None:
    """Add an entry, and forget the oldest one beyond `most`."""
    those[key] = value
    if len(those) > most:
        those.popitem(last=False)


def url_of(url: str, turn: Turn) -> str:
    """Give the URL that asks for the model of `turn`: a transcription is not made by the session's.

    >>> url_of("/v1/realtime?model=gpt-realtime", Turn(model="whisper-1", transcription=True))
    '/v1/realtime?model=whisper-1'
    """
    path, _, query = url.partition("?")
    if not turn.transcription:
        return url
    kept = [
        (name, value)
        for name, value in parse_qsl(query, keep_blank_values=True)
        if name.lower() not in ("model", "deployment")
    ]
    if turn.model:
        kept.append(("model", turn.model))
    return f"{path}?{urlencode(kept)}" if kept else path


def headers_of(turn: Turn) -> list[tuple[str, str]]:
    """Give headers of the answer: its type, and the model that the server said it uses."""
    model = [("openai-model", turn.model)] if turn.model and turn.model.isascii() else []
    return [("content-type", turn.answer()[0]), *model]


def _response_id(event: Json) -> str:
    response = event.get("response")
    return text(response.get("id")) if isinstance(response, dict) else ""


def without_sound(data: bytes) -> bytes:
    """Give an event with the size of each sound in its place.

    >>> without_sound(b'{"type": "input_audio_buffer.append", "audio": "QUJD"}')
    b'{"type": "input_audio_buffer.append", "audio": {"bytes": 3}}'
    """
    if b"audio" not in data:
        return data
    event = as_object(data)
    for key, kinds in (("audio", {APPENDS}), ("delta", SOUND)):
        if event.get("type") in kinds and isinstance(event.get(key), str):
            event[key] = {"bytes": size(event[key])}
    return json.dumps(without_binary(event)).encode() if event else data

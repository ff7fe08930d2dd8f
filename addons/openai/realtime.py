"""Sessions over a WebSocket (Realtime, Responses), taken apart into the answers that are billed.

A session holds any number of answers. A realtime session tells them apart by the response's id, several may
be under way at once, and the server begins some unasked, where it hears speech; Responses come one after the
other. A transcription within a realtime session is billed apart, by the item's id, at its own model's price.
Each answer becomes an exchange as it would have come over HTTP. Source: the API reference, Realtime client
and server events, and Responses over WebSocket.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from addons.openai.binary import without_binary
from addons.openai.model_of import Asked
from addons.openai.values import Json, text

ENDS = frozenset(
    {"response.completed", "response.done", "response.failed", "response.incomplete", "response.cancelled"}
)
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
ASKS = "response.create"
BEGINS = "response.created"
ERROR = "error"
STATES_SESSION = frozenset(
    {"session.created", "session.updated", "transcription_session.created", "transcription_session.updated"}
)
SOUND = frozenset({"response.output_audio.delta", "response.audio.delta"})
"""Events that hold nothing but sound, under their names of now and of the beta."""

KEPT = 2**20
"""Bytes of an unfinished answer's events that are kept; its last event says everything again."""
ASKED = 100
"""Requests that wait for their answer, at most; older ones are forgotten."""
REMEMBERED = 10_000
"""Ids of answers that are over, which do not begin again."""
UNREAD = frozenset({"tools", "item", "metadata", "variables", "schema", "parameters"})
"""Members of a client's event that hold a user's own names, or nothing that chooses the session's model.

So does a list ``input``; ``audio.input`` is another matter."""


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
    """The client's event, without sound; empty where the server began by itself."""
    id: str | None = None
    """Of the response, or of the item that was transcribed."""
    model: str | None = None
    """That the server said it would use."""
    events: list[bytes] = field(default_factory=list)
    started: float | None = None
    first: float | None = None
    """When the first event after its beginning came."""
    ended: float | None = None
    over: bool = False
    whole: bool = False
    """Whether the server ended it; False where the session ended before."""
    transcription: bool = False
    usage: Any = None
    """As reported."""
    event_id: str = ""
    """For whoever records it."""
    size: int = 0
    doubtful: bool = False
    """Whether an error came that may have been about this request."""

    def add(self, data: bytes, at: float | None) -> None:
        """Keep an event, if there is room; the first one is never without."""
        self.ended = at
        if self.events and self.first is None:
            self.first = at
        if not self.events or self.size + len(data) <= KEPT:
            self.events.append(data)
            self.size += len(data)

    def answer(self) -> tuple[str, bytes]:
        """Content type and body, as the answer would have come over HTTP."""
        if self.transcription:
            return "application/json", self.events[0]
        return "text/event-stream", b"".join(b"data: %b\n\n" % b" ".join(e.splitlines()) for e in self.events)


class Turns:
    """Follows one session, frame by frame. Never raises for what is in them."""

    def __init__(self, *, sequential: bool) -> None:
        self.model: str | None = None
        """Of the session, as the server said."""
        self.transcription_model: str | None = None
        self._sequential = sequential
        self._asked: deque[Turn] = deque(maxlen=ASKED)
        self._open: dict[str, Turn] = {}
        self._over: OrderedDict[str, None] = OrderedDict()

    def take(self, frame: Frame) -> list[Turn]:
        """The answers that begin or are `over` with this frame."""
        head = read_head(frame.data)
        kind = text(head.get("type"))
        if frame.from_client:
            if kind == ASKS:
                self._asked.append(Turn(_without_sound(frame.data), started=frame.at))
            return []
        if kind in STATES_SESSION:
            self._learn(_object(frame.data))
        elif kind == BEGINS:
            return self._begin(frame)
        elif kind in ENDS:
            return self._end(frame)
        elif kind == TRANSCRIBED:
            return [self._transcribed(frame)]
        elif kind == ERROR:
            return self._fail(frame)
        elif kind not in SOUND:
            turn = self._turn_of(head.get("response_id"))
            if turn is not None:
                turn.add(frame.data, frame.at)
        return []

    def rest(self) -> list[Turn]:
        """The session is over: the answers that it broke off, and the requests that had none."""
        left = [*self._open.values(), *(turn for turn in self._asked if not turn.doubtful)]
        self._open.clear()
        self._asked.clear()
        for turn in left:
            turn.over = True
        return left

    def _turn_of(self, id_: object) -> Turn | None:
        """Realtime names the response in each event; Responses leave it out, having only one."""
        if isinstance(id_, str):
            return self._open.get(id_)
        return next(iter(self._open.values()), None) if self._sequential else None

    def _begin(self, frame: Frame) -> list[Turn]:
        id_ = _response_id(_object(frame.data))
        again = self._sequential and bool(self._asked)  # a stand-in server may use one id for all its answers
        if id_ in self._open or (id_ in self._over and not again):
            return []
        self._over.pop(id_, None)
        turn = self._asked.popleft() if self._asked else Turn(started=frame.at)
        turn.id, turn.model = id_, self.model
        turn.add(frame.data, frame.at)
        self._open[id_] = turn
        return [turn]

    def _end(self, frame: Frame) -> list[Turn]:
        event = _object(frame.data)
        id_ = _response_id(event)
        if id_ in self._over:
            return []
        turn = self._open.pop(id_, None) or Turn(id=id_, model=self.model, started=frame.at)
        response = event.get("response")
        turn.usage = response.get("usage") if isinstance(response, dict) else None
        turn.size = 0  # there is always room for the last event
        turn.add(frame.data, frame.at)
        turn.over = turn.whole = True
        if id_:
            self._over[id_] = None
            if len(self._over) > REMEMBERED:
                self._over.popitem(last=False)
        return [turn]

    def _transcribed(self, frame: Frame) -> Turn:
        event = _object(frame.data)
        usage = event.get("usage")
        answer = {"id": event.get("item_id"), "object": "realtime.transcription"}
        answer |= {"text": event.get("transcript"), "usage": usage}
        turn = Turn(id=text(event.get("item_id")), model=self.transcription_model, started=frame.at)
        turn.add(json.dumps(answer).encode(), frame.at)
        turn.transcription, turn.usage = True, usage
        turn.over = turn.whole = True
        return turn

    def _fail(self, frame: Frame) -> list[Turn]:
        """An error: of Responses it ends the answer; of Realtime it says that a client's event failed."""
        if not self._sequential:
            for turn in self._asked:
                turn.doubtful = True
            return []
        if self._open:
            turn = self._open.pop(next(iter(self._open)))
        elif self._asked:
            turn = self._asked.popleft()
        else:
            return []
        turn.add(frame.data, frame.at)
        turn.over = turn.whole = True
        return [turn]

    def _learn(self, event: Json) -> None:
        """The models of a session, as the server states them."""
        session = event.get("session")
        if not isinstance(session, dict):
            return
        self.model = text(session.get("model")) or self.model
        audio = session.get("audio")
        heard = audio.get("input") if isinstance(audio, dict) else None
        places = (
            heard.get("transcription") if isinstance(heard, dict) else None,
            session.get("input_audio_transcription"),
        )
        for place in places:
            if isinstance(place, dict):
                self.transcription_model = text(place.get("model")) or self.transcription_model


def url_of(url: str, turn: Turn) -> str:
    """The URL that asks for the model of `turn`: a transcription is not made by the session's.

    >>> url_of("/v1/realtime?model=gpt-realtime", Turn(model="whisper-1", transcription=True))
    '/v1/realtime?model=whisper-1'
    """
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if not turn.transcription:
        return url
    kept = [(name, value) for name, value in query if name.lower() not in ("model", "deployment")]
    if turn.model:
        kept.append(("model", turn.model))
    return parts._replace(query=urlencode(kept)).geturl()


def headers_of(turn: Turn) -> list[tuple[str, str]]:
    """Headers of the answer: its type, and the model that the server said it uses."""
    model = [("openai-model", turn.model)] if turn.model and turn.model.isascii() else []
    return [("content-type", turn.answer()[0]), *model]


def models_named(data: bytes) -> Iterator[Asked]:
    """Every model that a client's event names, read strictly: for decisions.

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


class _Head(msgspec.Struct):
    type: Any = None
    response_id: Any = None
    event_id: Any = None


_decode_head = msgspec.json.Decoder(_Head).decode


def read_head(data: bytes) -> Mapping[str, Any]:
    """`type`, `response_id` and `event_id` of an event, without reading the rest of it; empty if it is none.

    Most frames hold sound, tens of kilobytes of it.
    """
    try:
        return msgspec.structs.asdict(_decode_head(data))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _object(data)  # by a more lenient parser


def _object(data: bytes) -> Json:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _response_id(event: Json) -> str:
    response = event.get("response")
    return text(response.get("id")) if isinstance(response, dict) else ""


def _without_sound(data: bytes) -> bytes:
    return json.dumps(without_binary(_object(data))).encode() if b'"audio"' in data else data

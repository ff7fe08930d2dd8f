"""Serve WebSockets as the stand-in: Realtime sessions, and Responses on a socket.

What is said on them is in :mod:`scripts.quickstart.standin_realtime` and, for Responses, in
:mod:`scripts.quickstart.standin_answers`: the events of a stream are the same on a socket.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from io import BufferedIOBase
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Message, Ping, Request, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from scripts.quickstart import standin_answers as answers
from scripts.quickstart import standin_troubles as troubles
from scripts.quickstart.standin_answers import Json
from scripts.quickstart.standin_realtime import Session, refused
from scripts.quickstart.standin_troubles import Trouble

SUBPROTOCOL = "openai-insecure-api-key."
"""Before the key, in the subprotocol that browsers send it in."""
RECEIVED = 65536
MESSAGE_LIMIT = 16 * 2**20


def offered_key(subprotocols: str) -> str:
    """Return the key that a browser offers in its subprotocols; empty without one."""
    offered = (one.strip() for one in subprotocols.split(","))
    return next((one.removeprefix(SUBPROTOCOL) for one in offered if one.startswith(SUBPROTOCOL)), "")


class Socket:
    """Runs one WebSocket on a connection whose handshake has been read."""

    def __init__(
        self,
        received: BufferedIOBase,
        send: Callable[[bytes], object],
        headers: Iterable[tuple[str, str]],
        path: str,
    ) -> None:
        self._received, self._send = received, send
        self._connection = WSConnection(ConnectionType.SERVER)
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._connection.initiate_upgrade_connection(raw, path)

    def accept(self, headers: Iterable[tuple[str, str]]) -> bool:
        """Answer the handshake. Returns whether it was one."""
        try:
            asked = next(self._connection.events())
        except (StopIteration, RemoteProtocolError):
            return False
        if not isinstance(asked, Request):
            return False
        chosen = next((one for one in asked.subprotocols if one == "realtime"), None)
        more = [(name.encode(), value.encode()) for name, value in headers]
        self._send(self._connection.send(AcceptConnection(subprotocol=chosen, extra_headers=more)))
        return True

    def say(self, event: Json) -> None:
        self._send(self._connection.send(TextMessage(json.dumps(event))))

    def heard(self) -> Iterator[str | bytes]:
        """Yield the client's messages, whole, until it leaves."""
        kept: list[Any] = []
        while True:
            for event in self._events():
                if isinstance(event, Message):
                    kept.append(event.data)
                    if sum(map(len, kept)) > MESSAGE_LIMIT:
                        self._send(self._connection.send(CloseConnection(1009, "The message is too long.")))
                        return
                    if event.message_finished:
                        yield kept[0][:0].join(kept)
                        kept = []
                elif isinstance(event, Ping):
                    self._send(self._connection.send(event.response()))
                elif isinstance(event, CloseConnection):
                    self._send(self._connection.send(event.response()))
                    return

    def _events(self) -> list[Any]:
        """Wait for bytes and return what they say; the last is a CloseConnection where there are no more."""
        data = self._received.read1(RECEIVED)
        if not data:
            raise ConnectionResetError
        try:
            self._connection.receive_data(data)
            return list(self._connection.events())
        except (LocalProtocolError, RemoteProtocolError) as error:
            raise ConnectionResetError from error


def serve_responses(socket: Socket, delay: float) -> None:
    """Answer each `response.create` by the events of a streamed response. Raises Cut."""
    for text in socket.heard():
        request = _json_object(text)
        if request is None or request.get("type") != "response.create":
            socket.say(_refused(400, "The stand-in takes response.create only.", None))
            continue
        lane = {"stream_id": request["stream_id"]} if "stream_id" in request else {}
        try:
            trouble, other = troubles.of_model(request.get("model"))
        except KeyError:
            socket.say(_refused(404, troubles.unknown(), "model_not_found") | lane)
            continue
        if trouble.error:
            socket.say({"type": "error", "status": trouble.status, **answers.error(*trouble.error), **lane})
            continue
        asked = request | ({"model": other} if other else {})
        _say_all(socket, (event | lane for event in answers.response_events(asked)), trouble, delay)


def serve_realtime(socket: Socket, model: str, trouble: Trouble, delay: float) -> None:
    """Hold a session. Raises Cut."""
    session = Session(model)
    _say_all(socket, session.begin(), troubles.NONE, delay)
    for text in socket.heard():
        asked = _json_object(text)
        if asked is None:
            socket.say(refused("The event is not a JSON object.", None, None))
        else:
            _say_all(socket, session.answer(asked), trouble, delay)


def _say_all(socket: Socket, events: Iterator[Json], trouble: Trouble, delay: float) -> None:
    for event in trouble.events(events):
        socket.say(event)
        time.sleep(delay)


def _json_object(text: str | bytes) -> Json | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _refused(status: int, message: str, code: str | None) -> Json:
    """Return an `error` event of a Responses socket."""
    return {"type": "error", "status": status} | answers.error(message, "invalid_request_error", code)

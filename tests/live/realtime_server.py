"""A WebSocket server in the place of the API's realtime sessions; what it does is in the client's events."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

USAGE: dict[str, Any] = {
    "total_tokens": 100,
    "input_tokens": 60,
    "output_tokens": 40,
    "input_token_details": {
        "text_tokens": 20,
        "audio_tokens": 40,
        "image_tokens": 0,
        "cached_tokens": 10,
        "cached_tokens_details": {"text_tokens": 10, "audio_tokens": 0, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 10, "audio_tokens": 30},
}
HEARD = {"type": "tokens", "total_tokens": 22, "input_tokens": 13, "output_tokens": 9}
TRANSCRIBER = "gpt-4o-transcribe"
SOUND = "QUJD" * 400
SUBPROTOCOL = "openai-insecure-api-key."
MINTED = "ek_minted_secret_of_the_session"


def _choose(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return next((one for one in offered if one == "realtime"), None)


@dataclass
class RealtimeServer:
    """Runs in threads of its own. `seen` are the client's events, of all sessions."""

    certificate: trustme.LeafCert
    seen: list[dict[str, Any]] = field(default_factory=list)
    handshakes: list[dict[str, str]] = field(default_factory=list)
    closed: list[tuple[int | None, str]] = field(default_factory=list)
    port: int = 0
    accepted: set[str] | None = None
    """The keys that open a session; None: any."""

    @property
    def base_url(self) -> str:
        return f"https://localhost:{self.port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[RealtimeServer]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate.configure_cert(context)
        with serve(
            self._session,
            "127.0.0.1",
            0,
            ssl=context,
            select_subprotocol=_choose,
            process_request=self._admit,
        ) as server:
            self.port = server.socket.getsockname()[1]
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join(10)

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        offered = request.headers.get("sec-websocket-protocol", "").split(", ")
        keys = [one.removeprefix(SUBPROTOCOL) for one in offered if one.startswith(SUBPROTOCOL)]
        keys.append(request.headers.get("authorization", "").removeprefix("Bearer "))
        if self.accepted is None or not self.accepted.isdisjoint(keys):
            return None
        return socket.respond(401, "wrong key")

    def _session(self, socket: ServerConnection) -> None:
        assert socket.request
        self.handshakes.append({name.lower(): value for name, value in socket.request.headers.raw_items()})
        query = parse_qs(urlsplit(socket.request.path).query)
        session = {
            "type": "realtime",
            "object": "realtime.session",
            "id": "sess_1",
            "model": query.get("model", ["gpt-realtime"])[0],
            "client_secret": {"value": MINTED, "expires_at": 1},
            "audio": {"input": {"transcription": {"model": TRANSCRIBER}}},
        }
        with contextlib.suppress(ConnectionClosed):
            self._say(socket, "session.created", session=session)
            for message in socket:
                event = json.loads(message)
                self.seen.append(event)
                self._answer(socket, event, session)
        self.closed.append((socket.close_code, socket.close_reason or ""))

    def _answer(self, socket: ServerConnection, event: dict[str, Any], session: dict[str, Any]) -> None:
        if event["type"] == "session.update":
            self._say(socket, "session.updated", session={**session, **event["session"]})
        elif event["type"] == "input_audio_buffer.commit":
            self._say(
                socket,
                "conversation.item.input_audio_transcription.completed",
                item_id=f"item_{len(self.seen)}",
                content_index=0,
                transcript="hello there",
                usage=HEARD,
            )
            if event.get("event_id") == "answer me":  # heard to be the end of what a user says
                self._respond(socket, "completed")
        elif event["type"] == "response.create":
            self._respond(socket, event.get("response", {}).get("metadata", {}).get("do", "completed"))

    def _respond(self, socket: ServerConnection, do: str) -> None:
        ids = [f"resp_{len(self.seen)}_{n}" for n in range(2 if do == "interleave" else 1)]
        for id_ in ids:
            begun = {"id": id_, "object": "realtime.response", "status": "in_progress", "output": []}
            self._say(socket, "response.created", response={**begun, "usage": None})
        for id_ in ids:
            place = {"response_id": id_, "item_id": f"item_{id_}", "output_index": 0, "content_index": 0}
            self._say(socket, "response.output_audio.delta", **place, delta=SOUND)
            self._say(socket, "response.output_audio_transcript.delta", **place, delta="hi")
        for id_ in reversed(ids) if do != "hang" else ():
            status = "completed" if do == "interleave" else do
            part = {"type": "output_audio", "transcript": "hi"}
            item = {"id": f"item_{id_}", "type": "message", "role": "assistant", "content": [part]}
            response = {"id": id_, "object": "realtime.response", "status": status, "output": [item]}
            self._say(socket, "response.done", response={**response, "usage": USAGE})

    def _say(self, socket: ServerConnection, kind: str, **rest: Any) -> None:
        socket.send(json.dumps({"type": kind, "event_id": f"event_{kind}", **rest}))

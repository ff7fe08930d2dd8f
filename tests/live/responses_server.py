"""A WebSocket server in the place of the API's Responses over WebSocket; what it does is in the metadata."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from tests.live.realtime_server import RealtimeServer

USAGE: dict[str, Any] = {
    "input_tokens": 12,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 17,
}
ENDS = {"completed": "response.completed", "failed": "response.failed", "incomplete": "response.incomplete"}


class ResponsesServer(RealtimeServer):
    """`seen` are the client's events; answers with the metadata ``do: hold`` end with the next one's end."""

    def _session(self, socket: ServerConnection) -> None:
        assert socket.request
        self.handshakes.append({name.lower(): value for name, value in socket.request.headers.raw_items()})
        held: list[dict[str, Any]] = []
        with contextlib.suppress(ConnectionClosed):
            for message in socket:
                event = json.loads(message)
                self.seen.append(event)
                if event["type"] == "response.steer":
                    self._steer(socket, event, held)
                else:
                    self._create(socket, event, held)
        self.closed.append((socket.close_code, socket.close_reason or ""))

    def _create(self, socket: ServerConnection, event: dict[str, Any], held: list[dict[str, Any]]) -> None:
        do = (event.get("metadata") or {}).get("do", "completed")
        if do == "error":
            error = {"type": "invalid_request_error", "code": "previous_response_not_found", "param": None}
            self._tell(socket, event, "error", status=400, error={**error, "message": "There is none."})
            return
        self._begin(socket, event)
        if do in ("hold", "hang"):
            held.append(event)
            return
        self._end(socket, event, do)
        for other in [one for one in held if one["metadata"]["do"] == "hold"]:
            held.remove(other)
            self._end(socket, other, "completed")

    def _steer(self, socket: ServerConnection, event: dict[str, Any], held: list[dict[str, Any]]) -> None:
        before = held.pop()
        self._end(socket, before, "incomplete")
        after = {**before, "previous_response_id": before["id"]}
        self._begin(socket, after)
        self._end(socket, after, "completed")

    def _begin(self, socket: ServerConnection, event: dict[str, Any]) -> None:
        event["id"] = f"resp_{len(self.seen)}{'_steered' if event.get('id') else ''}"
        self._tell(socket, event, "response.created", response=self._response(event, "in_progress", None))
        place = {"item_id": f"msg_{event['id']}", "output_index": 0, "content_index": 0}
        self._tell(socket, event, "response.output_text.delta", **place, delta="one two", sequence_number=1)

    def _end(self, socket: ServerConnection, event: dict[str, Any], status: str) -> None:
        part = {"type": "output_text", "text": "one two three", "annotations": []}
        item = {"type": "message", "id": f"msg_{event['id']}", "status": "completed", "role": "assistant"}
        response = self._response(event, status, USAGE, {**item, "content": [part]})
        self._tell(socket, event, ENDS[status], response=response, sequence_number=2)

    def _response(self, event: dict[str, Any], status: str, usage: Any, *output: Any) -> dict[str, Any]:
        return {
            "id": event["id"],
            "object": "response",
            "created_at": 1700000000,
            "status": status,
            "error": {"code": "server_error", "message": "It broke."} if status == "failed" else None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": event["model"],
            "output": list(output),
            "previous_response_id": event.get("previous_response_id"),
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage,
        }

    def _tell(self, socket: ServerConnection, event: dict[str, Any], kind: str, **rest: Any) -> None:
        lane = {"stream_id": event["stream_id"]} if "stream_id" in event else {}
        socket.send(json.dumps({"type": kind, **rest, **lane}))

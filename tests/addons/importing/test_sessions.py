"""Recorded WebSocket sessions: each answer is an event."""

from __future__ import annotations

import io
import json
from typing import Any

from mitmproxy import websocket
from mitmproxy.test import tflow
from wsproto.frame_protocol import Opcode

from addons.importing import read, to_exchange
from tests.addons.importing.test_importing import STARTED, as_flows, as_har
from tests.events import fields_of
from tests.live.conftest import RESPONSE

START = STARTED.timestamp()
USAGE = {"total_tokens": 30, "input_tokens": 20, "output_tokens": 10}
ANSWER: list[dict[str, Any]] = [
    {
        "type": "response.created",
        "response": RESPONSE | {"status": "in_progress", "output": [], "usage": None},
    },
    {
        "type": "response.output_text.delta",
        "item_id": "m",
        "output_index": 0,
        "content_index": 0,
        "delta": "x",
    },
    {"type": "response.completed", "response": RESPONSE},
]
RESPONSES: list[tuple[bool, dict[str, Any]]] = [
    (True, {"type": "response.create", "model": "gpt-4o-mini", "input": "one"}),
    *((False, event) for event in ANSWER),
    (True, {"type": "response.create", "model": "gpt-4o-mini", "input": "two"}),
    *((False, event) for event in ANSWER),
    (True, {"type": "response.create", "model": "gpt-4o-mini", "input": "three"}),
    (False, ANSWER[0]),
]
REALTIME: list[tuple[bool, dict[str, Any]]] = [
    (
        False,
        {
            "type": "session.created",
            "session": {
                "model": "gpt-realtime",
                "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}},
            },
        },
    ),
    (True, {"type": "input_audio_buffer.append", "audio": "AAAA"}),
    (False, {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}),
    (
        False,
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "usage": {"type": "duration", "seconds": 2},
        },
    ),
    (False, {"type": "response.done", "response": {"id": "resp_1", "status": "completed", "usage": USAGE}}),
]


def entry(path: str, frames: list[tuple[bool, dict[str, Any]]]) -> dict[str, Any]:
    return {
        "_id": "session",
        "startedDateTime": STARTED.isoformat(),
        "time": 9000,
        "request": {"method": "GET", "url": f"wss://api.openai.com{path}", "headers": []},
        "response": {"status": 101, "headers": [], "content": {"size": 0}},
        "_webSocketMessages": [
            {
                "type": "send" if sent else "receive",
                "time": START + number,
                "opcode": 1,
                "data": json.dumps(value),
            }
            for number, (sent, value) in enumerate(frames)
        ],
    }


def flow(path: str, frames: list[tuple[bool, dict[str, Any]]]) -> Any:
    found = tflow.twebsocketflow()
    found.request.url = f"https://api.openai.com{path}"
    assert found.websocket
    found.websocket.messages = [
        websocket.WebSocketMessage(Opcode.TEXT, sent, json.dumps(value).encode(), START + number)
        for number, (sent, value) in enumerate(frames)
    ]
    return found


def events(path: str, frames: list[tuple[bool, dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """As read from HAR and from a flow file."""
    data = (as_har([entry(path, frames)]), as_flows([flow(path, frames)]))
    return [[fields_of(to_exchange(one)) for one in read(io.BytesIO(each))] for each in data]


def test_responses() -> None:
    for found in events("/v1/responses", RESPONSES):
        assert [one["endpoint"] for one in found] == ["responses"] * 3
        assert [one["outcome"] for one in found] == ["ok", "ok", "upstream_aborted"]
        assert [one["model_requested"] for one in found] == ["gpt-4o-mini"] * 3
        assert [(one["usage"] or {}).get("total_tokens") for one in found][:2] == [17, 17]
        assert found[0]["cost"]["usd"]
        assert found[0]["duration_ms"] == 3000
        assert found[0]["response"]["body"]["output"] == RESPONSE["output"]
        assert len({one["event_id"] for one in found}) == 3


def test_realtime() -> None:
    for found in events("/v1/realtime?model=gpt-realtime", REALTIME):
        assert [one["endpoint"] for one in found] == ["realtime"] * 2
        assert [one["usage"].get("seconds") for one in found] == [2, None]
        assert found[1]["usage"]["total_tokens"] == 30
        assert [one["model"] for one in found] == ["gpt-4o-transcribe", "gpt-realtime"]


def test_a_session_without_answers_is_one_event() -> None:
    for found in events("/v1/realtime?model=gpt-realtime", REALTIME[:2]):
        assert [(one["endpoint"], one["usage"]) for one in found] == [("realtime", None)]

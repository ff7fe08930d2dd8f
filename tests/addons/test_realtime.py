"""What may pass within a session, as far as no process is needed to see it (see also tests/live)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mitmproxy import http, websocket
from mitmproxy.test import taddons, tflow
from wsproto.frame_protocol import Opcode

from addons import gate, marks, realtime, seal
from addons.ownership import Ownership
from addons.runtime import Runtime


def flow(text: str, *, from_client: bool = True, ours: bool = True) -> http.HTTPFlow:
    found = tflow.twebsocketflow()
    assert found.websocket
    found.websocket.messages.append(websocket.WebSocketMessage(Opcode.TEXT, from_client, text.encode()))
    if ours:
        found.metadata[marks.CALL] = "id"
    return found


def last(found: http.HTTPFlow) -> websocket.WebSocketMessage:
    assert found.websocket
    return found.websocket.messages[-1]


def test_the_seal_drops_what_nobody_has_checked() -> None:
    with taddons.context():
        for found, passes in (
            (flow("{}"), False),
            (flow("{}", from_client=False), True),
            (flow("{}", ours=False), True),
        ):
            seal.Seal().websocket_message(found)
            assert last(found).dropped is not passes
        found = flow("{}")
        seal.checked.add(last(found))
        seal.Seal().websocket_message(found)
        assert not last(found).dropped


def test_without_a_session_nothing_passes_and_nothing_is_kept() -> None:
    with taddons.context():
        found, runtime = flow("{}"), Runtime()
        asyncio.run(realtime.Realtime(runtime, Ownership(runtime)).websocket_message(found))
        assert last(found).dropped
        assert found.websocket
        assert len(found.websocket.messages) == 1


@pytest.mark.parametrize("secret", [{"value": "ek_1"}, "ek_1"])
def test_minted_secrets_are_hidden(secret: Any) -> None:
    event = {"type": "session.created", "session": {"model": "m", "client_secret": secret}}
    message = last(flow(json.dumps(event), from_client=False))
    realtime._hide_secret(message)
    assert json.loads(message.content)["session"] == {"model": "m", "client_secret": None}


@pytest.mark.parametrize(
    ("headers", "option", "fit"),
    [
        ({"upgrade": "WebSocket", "sec-websocket-version": "13"}, True, True),
        ({"upgrade": "WebSocket", "sec-websocket-version": "13"}, False, False),
        ({"upgrade": "WebSocket", "sec-websocket-version": "8"}, True, False),
        ({"upgrade": "h2c", "sec-websocket-version": "13"}, True, False),
    ],
)
def test_only_websockets_are_upgraded_to(headers: dict[str, str], option: bool, fit: bool) -> None:
    with taddons.context() as context:
        context.options.update(websocket=option)
        request = http.Request.make("GET", "https://api.openai.com/v1/realtime", headers=headers)
        assert gate._is_websocket(request) is fit

"""The real key is neither in what the client gets nor in the event where upstream repeats it."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http

from addons.flow.call import open_calls
from addons.hooks.recorder import Recorder
from addons.hooks.redaction import Redaction
from tests.addons.hooks.gated import HELLO, gated
from tests.addons.hooks.test_recorder import recorded

KEY = "sk-real-0123456789abcdefghij"
MASKED = "sk-real-****************ghij"


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize("echo", [KEY, MASKED])
def test_a_key_that_upstream_repeats(echo: str, coding: str, tmp_path: Path) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {echo}.", "type": "x"}}).encode()
    headers = {"content-type": "application/json", "x-debug": f"key={echo}", "content-encoding": coding}
    with gated(tmp_path) as world:
        recorder, redaction = Recorder(world.runtime), Redaction()
        tool = {"type": "mcp", "server_url": "https://x.example/", "authorization": "ya29.secret"}
        flow = world.flow(world.token(), body={**HELLO, "tools": [tool]})

        async def call() -> None:
            await world.gate.requestheaders(flow)
            await world.gate.request(flow)
            content = gzip.compress(body) if coding else body
            flow.response = http.Response.make(401, b"", {k: v for k, v in headers.items() if v})
            flow.response.raw_content = None  # as upstream's is, until it is whole
            redaction.responseheaders(flow)
            recorder.responseheaders(flow)
            assert not flow.response.stream, "held back"
            flow.response.raw_content = content
            redaction.response(flow)
            await recorder.response(flow)

        asyncio.run(call())
        assert flow.response is not None
        shown = [flow.response.text, str(flow.response.headers)]
        assert flow.response.json()["error"]["message"] == "Incorrect API key provided: [redacted]."
        assert flow.response.headers["x-debug"] == "key=[redacted]"
        (event,) = recorded(world)
        said: Any = event["error"]["message"]
        assert said == "Incorrect API key provided: [redacted]."
        for text in (*shown, json.dumps(event)):
            assert echo not in text
            assert "ya29.secret" not in text
    open_calls.clear()


def test_a_key_in_an_answer_that_streams(tmp_path: Path) -> None:
    """Neither the client, nor the flow that is shown and saved, nor the event has it."""
    with gated(tmp_path) as world:
        recorder, redaction = Recorder(world.runtime), Redaction()
        flow = world.flow(world.token(), body={**HELLO, "stream": True})
        passed: list[bytes] = []

        async def call() -> None:
            await world.gate.requestheaders(flow)
            await world.gate.request(flow)
            flow.response = http.Response.make(200, b"", {"content-type": "text/event-stream"})
            flow.response.raw_content = None
            redaction.responseheaders(flow)
            recorder.responseheaders(flow)
            event = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % KEY.encode()
            stream: Any = flow.response.stream
            for piece in (event[:60], event[60:], b""):
                said = stream(piece)
                passed.extend([said] if isinstance(said, bytes) else said)
            redaction.response(flow)
            await recorder.response(flow)

        asyncio.run(call())
        assert flow.response is not None
        (event,) = recorded(world)
        for shown in (b"".join(passed).decode(), str(flow.response.text), json.dumps(event)):
            assert "[redacted]" in shown
            assert KEY not in shown
    open_calls.clear()

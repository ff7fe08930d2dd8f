"""The view as mitmproxy calls it, in whichever of its versions runs the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from mitmproxy import contentviews, http
from mitmproxy.test import taddons, tflow
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from addons.flow import flow_metadata
from addons.hooks.inspector import content_view
from addons.hooks.inspector.text import MOST

EVENT = {"model": "gpt-4o-mini", "usage": {"input_tokens": 2, "output_tokens": 3}, "token_id": "01b3"}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    content_view.register()
    content_view.register()  # as a reload of the script does
    with taddons.context():  # type: ignore[no-untyped-call]
        yield


def shown(message: Any, flow: http.HTTPFlow, view: str = "auto") -> tuple[str, str]:
    """Name of the view that was chosen, and its text."""
    if hasattr(contentviews, "prettify_message"):
        result = contentviews.prettify_message(message, flow, view)
        return str(result.view_name), result.text
    name, lines, error = contentviews.get_message_content_view(view, message, flow)
    assert error is None, error
    return name.split()[-1], "\n".join("".join(text for _, text in line) for line in lines)


def call(
    request: Any = None, body: bytes = b"", kind: str = "application/json", **metadata: Any
) -> http.HTTPFlow:
    flow = tflow.tflow()
    sent = json.dumps(request or {}).encode()
    flow.request = http.Request.make("POST", "https://api.openai.com/v1/chat/completions", sent)
    flow.response = http.Response.make(200, body, {"content-type": kind})
    flow.metadata |= {flow_metadata.CALL: "01a2", **metadata}
    return flow


def response(flow: http.HTTPFlow) -> http.Response:
    assert flow.response is not None
    return flow.response


def stream(*words: str) -> bytes:
    chunks = [
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": word}}]}
        for word in words
    ]
    return b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks)


def test_it_is_chosen_for_calls_and_only_for_them() -> None:
    flow = call({"messages": [{"role": "user", "content": "Hi"}]}, b'{"choices": []}')
    assert shown(flow.request, flow)[0] == "OpenAI"
    assert shown(response(flow), flow)[0] == "OpenAI"
    del flow.metadata[flow_metadata.CALL]
    assert shown(flow.request, flow)[0] != "OpenAI"
    assert "── user ──" in shown(flow.request, flow, "OpenAI")[1], "it can be chosen"


def test_a_stream_is_shown_as_one_text_under_the_figures() -> None:
    flow = call(
        body=stream("one ", "two ", "three"), kind="text/event-stream", **{flow_metadata.EVENT: EVENT}
    )
    name, text = shown(response(flow), flow)
    assert name == "OpenAI"
    assert text.startswith("gpt-4o-mini · 2→3 tok\n")
    assert "01b3" in text
    assert "── assistant ──\none two three" in text


def test_what_the_worker_assembled_is_not_read_again() -> None:
    flow = call(body=b"data: broken", kind="text/event-stream", **{flow_metadata.EVENT: EVENT})
    content_view.assembled[flow] = {"choices": [{"message": {"role": "assistant", "content": "kept"}}]}
    assert "kept" in shown(response(flow), flow)[1]


def test_of_a_long_stream_both_ends_are_read_and_the_gap_is_named() -> None:
    words = [f"w{number:05} " for number in range(3 * content_view.READ // 100)]
    body = stream(*words)
    assert len(body) > 2 * content_view.READ
    flow = call(body=body, kind="text/event-stream")
    text = shown(response(flow), flow)[1]
    assert "w00000" in text
    assert words[-1].strip() in text
    assert "bytes in the middle were not kept" in text


def test_content_codings_are_undone_by_mitmproxy() -> None:
    flow = call()
    answer = response(flow)
    answer.headers["content-encoding"] = "gzip"
    answer.content = json.dumps({"choices": [{"message": {"content": "squeezed"}}]}).encode()
    assert "squeezed" in shown(answer, flow)[1]


def test_sound_is_shown_by_its_size() -> None:
    flow = call(body=b"ID3" * 100, kind="audio/mpeg", **{flow_metadata.EVENT: {"model": "tts-1"}})
    assert shown(response(flow), flow) == ("OpenAI", "tts-1\n \n[audio/mpeg, 300 bytes]")


def test_a_web_page_is_left_to_mitmproxy() -> None:
    flow = call(body=b"<html><p>captive</p></html>", kind="text/html; charset=utf-8")
    assert shown(response(flow), flow)[0] != "OpenAI"


def test_messages_of_a_session_and_the_session_as_a_whole() -> None:
    flow = tflow.twebsocketflow()
    flow.metadata[flow_metadata.CALL] = "01a2"
    said = {
        "type": "response.done",
        "response": {"output": [{"type": "message", "content": [{"text": "Hello."}]}]},
    }
    flow.websocket.messages = [
        WebSocketMessage(Opcode.TEXT, True, json.dumps({"type": "response.create"}).encode()),
        WebSocketMessage(Opcode.TEXT, False, json.dumps(said).encode()),
        WebSocketMessage(Opcode.BINARY, False, b"\0" * 50),
    ]
    assert "── assistant ──\nHello." in shown(flow.websocket.messages[1], flow)[1]
    assert "[50 bytes]" in shown(flow.websocket.messages[2], flow)[1]
    flow.response.content = b""
    whole = content_view.render(b"", flow, flow.response)
    assert whole.index("client: ── response.create") < whole.index("server: ── response.done")
    assert "Hello." in whole


def test_a_view_is_never_longer_than_a_browser_can_take() -> None:
    flow = call({"messages": [{"role": "user", "content": "word " * 1000}] * 500})
    text = content_view.render(flow.request.content or b"", flow, flow.request)
    assert MOST < len(text) < MOST + 100
    assert "characters are not shown here" in text


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{", b"[1]", b"null", b'"x"', b"[" * 5000, b"data: {"])
def test_bodies_that_are_nothing(body: bytes) -> None:
    for kind in ("application/json", "text/event-stream", "text/plain", ""):
        flow = call(body=body, kind=kind)
        for message in (flow.response, flow.request):
            assert isinstance(content_view.render(body, flow, message), str)
        assert isinstance(content_view.render(body, None, None), str)

from __future__ import annotations

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from addons.flow.call import Call, open_call, open_calls
from addons.flow.capture import Capture
from addons.hooks import include_usage
from addons.openai.usage.usage_cutter import UsageCutter

NULL = b'data: {"choices":[1],"usage":null}\n\n'
CUT = b'data: {"choices":[1]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'


@pytest.fixture
def call() -> Call:
    flow = tflow.tflow()
    call = open_call(flow, "chat")
    del open_calls[flow.id]
    call.request_body, call.usage_added = b"{}", True
    return call


def answer(status: int = 200, **headers: str) -> http.Response:
    return http.Response.make(status, b"", {name.replace("_", "-"): value for name, value in headers.items()})


def through(call: Call, response: http.Response, *pieces: bytes) -> tuple[bytes, bytes]:
    """What the client gets, and what the recorder keeps."""
    capture = Capture("", 10_000)
    tap = include_usage.tap(call, response, capture)
    passed = [tap(piece) for piece in (*pieces, b"")]
    return b"".join(
        part if isinstance(part, bytes) else b"".join(part) for part in passed
    ), capture.body().data


def test_client_gets_less_than_the_recorder(call: Call) -> None:
    response = answer(content_type="text/event-stream; charset=utf-8", content_length="9")
    assert through(call, response, NULL + USAGE[:9], USAGE[9:]) == (CUT, NULL + USAGE)
    assert "content-length" not in response.headers
    assert response.headers["transfer-encoding"] == "chunked"


def test_stream_without_a_content_type(call: Call) -> None:
    response = answer()
    del response.headers["content-length"]
    assert through(call, response, NULL, USAGE)[0] == CUT


@pytest.mark.parametrize(
    "response",
    [
        answer(400, content_type="text/event-stream"),
        answer(content_type="application/json", content_length="7"),
        answer(content_type="text/event-stream", content_encoding="gzip"),
        answer(content_type="text/event-stream", content_encoding="br"),
    ],
)
def test_answers_that_are_left_alone(response: http.Response, call: Call) -> None:
    before = response.headers.copy()
    assert through(call, response, NULL, USAGE) == (NULL + USAGE, NULL + USAGE)
    assert response.headers == before


def test_call_that_was_not_changed(call: Call) -> None:
    call.request_body, call.usage_added = None, False
    assert through(call, answer(content_type="text/event-stream"), NULL, USAGE)[0] == NULL + USAGE


def test_no_piece_is_empty_and_none_is_lost_when_the_cutter_breaks(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = Capture("", 10_000)
    tap = include_usage.tap(call, answer(content_type="text/event-stream"), capture)
    assert tap(NULL[:9]) == []
    assert tap(NULL[9:]) == [CUT]
    assert tap(USAGE[:9]) == []

    def broken(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(UsageCutter, "feed", broken)
    assert tap(USAGE[9:]) == [USAGE]
    assert tap(NULL) == [NULL]
    assert tap(b"") == []
    assert capture.body().data == NULL + USAGE + NULL

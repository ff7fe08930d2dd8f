"""Bodies of all kinds, opened; and those that are made to be hard to open."""

from __future__ import annotations

import gzip
import json

import pytest

from addons.openai import Request, Response, first_content, summarize
from addons.openai.http import body
from addons.openai.http.body import Opened, open_body

SSE = [("content-type", "text/event-stream")]
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'


def stream(data: bytes, coding: str = "") -> Response:
    return Response(200, [*SSE, *([("content-encoding", coding)] if coding else [])], data)


def test_events_have_a_name() -> None:
    opened = open_body(
        stream(
            b'event: ping\ndata: {}\n\nevent: error\ndata: {"code": "c"}\n\nevent: done\ndata: [DONE]\n\n'
            b'event: x\ndata: {"object": "thread.run"}\n\nevent: y\ndata: {"type": "z"}\n\ndata: nonsense\n\n'
        )
    )
    assert opened.events == [
        {"type": "ping"},
        {"type": "error", "error": {"code": "c"}},
        {"object": "thread.run"},
        {"type": "z"},
    ]
    assert opened.unparsed == 1


@pytest.mark.parametrize(
    "start", [b"data: 1\n\n", b": comment\n\n", b"\n\nevent: a\ndata: 1\n\n", b"retry: 1\n\n", b"id: 1\n\n"]
)
def test_a_stream_is_known_by_its_beginning(start: bytes) -> None:
    assert open_body(Response(200, [], start + USAGE)).events == [json.loads(USAGE[6:])]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("filler", [b"data: {}\n\n", b":\n", b"data\n\n"])
def test_a_stream_of_too_many_lines(filler: bytes, end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is read, and what is left out is said."""
    monkeypatch.setattr(body, "MOST_LINES", 1000)
    first = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
    data = (first + filler * 5000 + USAGE).replace(b"\n", end)
    summary = summarize(Request("POST", "/v1/chat/completions"), stream(data))
    assert summary.usage is not None
    assert summary.usage.total_tokens == 3
    assert summary.output["choices"][0]["message"]["content"] == "Hi"
    assert all(reason.endswith("bytes of its texts were not kept") for reason in summary.truncated)


@pytest.mark.parametrize("lines", [400, 499, 500, 501, 700, 998, 999])
def test_a_stream_of_just_not_too_many_lines_is_read_whole(
    lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "MOST_LINES", 1000)
    opened = open_body(stream(b"data: {}\n" * (lines % 2) + b"\n" + b"data: {}\n\n" * (lines // 2)))
    assert opened.events == [{}] * (lines // 2 + lines % 2)
    assert not opened.truncated


@pytest.mark.parametrize("filler", [b"data:{}\n\n", b"\n", b":\n", b"data\n"])
def test_a_bomb_of_lines_is_not_read_to_its_end(filler: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "KEPT", body.KEPT // 8)
    monkeypatch.setattr(body, "MOST_LINES", body.MOST_LINES // 8)
    data = gzip.compress(filler * (4 * 2**20 // len(filler)))
    opened = open_body(stream(data, "gzip"))
    assert opened.events is None or len(opened.events) <= body.MOST_LINES
    assert first_content(stream(data, "gzip"), [data]) is None


def test_of_a_coded_body_that_is_too_long_the_texts_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "KEPT", 4000)
    events = [b'data: {"choices":[{"index":0,"delta":{"content":"%d "}}]}\n\n' % at for at in range(500)]
    summary = summarize(
        Request("POST", "/v1/chat/completions"), stream(gzip.compress(b"".join(events) + USAGE), "gzip")
    )
    assert summary.usage is not None
    assert summary.output["choices"][0]["message"]["content"].startswith("0 1 2 ")
    assert summary.truncated[0].endswith("bytes of its texts were not kept")


def test_a_broken_byte_in_json_loses_nothing_else() -> None:
    opened = opened_json(b'{"text": "caf\xe9", "usage": {"total_tokens": 3}}')
    assert opened.value == {"text": "caf\ufffd", "usage": {"total_tokens": 3}}


def test_a_stream_of_lines() -> None:
    lines = b'{"a": 1}\n\n{"b": "\xff"}\n[1]\n{"c": '
    kind = [("content-type", "application/x-ndjson")]
    assert open_body(Response(200, kind, lines)).events == [{"a": 1}, {"b": "\ufffd"}]
    plain = open_body(Response(200, [("content-type", "application/octet-stream")], lines))
    assert plain.events is None, "the lines of a file are no stream"


def opened_json(body: bytes) -> Opened:
    return open_body(Response(200, [("content-type", "application/json")], body))


def test_json_of_too_many_values_is_kept_by_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "RECORDED_NODES", 1000)
    monkeypatch.setattr(body, "ENDS", 50)
    data = b'{"first": 1, "many": [' + b"0," * 2000 + b'0], "last": 2}'
    opened = open_body(Response(200, [("content-type", "application/json")], data))
    assert opened.value is None
    assert opened.text == data[:50].decode()
    assert opened.tail == data[-50:]
    assert opened.skipped == len(data) - 100
    assert opened.truncated[0].startswith("it has more than 1,000 values")

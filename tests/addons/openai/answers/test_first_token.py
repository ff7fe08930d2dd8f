"""Which piece of the wire completes the first content."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from addons.openai import Response, first_content
from tests.codings import flushed
from tests.scenarios import SCENARIOS

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"obfuscation":"x"}\n\n'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
CALL = b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}\n\n'
STREAM = [("content-type", "text/event-stream")]


def index(*pieces: bytes, coding: str = "") -> int | None:
    return first_content(Response(200, [*STREAM, ("content-encoding", coding)]), pieces)


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        CALL,
        b'data: {"type":"response.output_text.delta","delta":"Hi"}\n\n',
        b'data: {"choices":[{"text":"Hi","index":0}]}\n\n',
        b'data: {"choices":[{"delta":{"content":null,"reasoning_content":"Hm"}}]}\n\n',
        b'data: {"object":"thread.message.delta","delta":{"content":[{"text":{"value":"Hi"}}]}}\n\n',
        b'data: {"type":"speech.audio.delta","audio":"AAAA"}\n\n',
        b'data: {"type":"image_generation.partial_image","b64_json":"AAAA"}\n\n',
    ],
)
def test_content(content: bytes) -> None:
    assert index(ROLE, content, TEXT) == 1
    assert index(b": comment\n\n", ROLE, content[:20], content[20:], TEXT) == 3


def test_bookkeeping_is_no_content() -> None:
    assert (
        index(ROLE, b'data: {"type":"response.created","response":{"id":"r"}}\n\n', b"data: [DONE]\n\n")
        is None
    )


def test_coded_streams() -> None:
    for name in ("gzip", "deflate", "br", "zstd"):
        assert index(*flushed(name, [ROLE, ROLE, TEXT, TEXT]), coding=name) == 2


def test_what_is_no_stream() -> None:
    assert first_content(Response(200, [("content-type", "application/json")]), [b'{"choices": []}']) is None


def lines(body: bytes) -> Iterator[bytes]:
    yield from body.splitlines(keepends=True)


def test_every_stream_that_says_something_has_a_first_token() -> None:
    for scenario in SCENARIOS.values():
        if scenario.is_stream and b"delta" in scenario.response.body:
            assert first_content(scenario.response, list(lines(scenario.response.body))) is not None, (
                scenario.name
            )

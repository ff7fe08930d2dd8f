from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.usage import usage_cutter
from addons.openai.usage.usage_cutter import UsageCutter, without_usage
from tests import corpus

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
UNASKED = object()
"""In the place of a chunk's usage: the key is not there."""


def chunk(usage: Any = UNASKED, *, end: bytes = b"\n", spaced: bool = False, **fields: Any) -> bytes:
    """One event, as a server writes it; `usage` stands last but one, as `obfuscation` follows it."""
    value = {"id": "c-1", "object": "chat.completion.chunk", **fields}
    if usage is not UNASKED:
        value["usage"] = usage
    value["obfuscation"] = "üß"
    text = json.dumps(value, separators=(", ", ": ") if spaced else (",", ":"), ensure_ascii=spaced)
    return b"data: " + text.encode() + end * 2


def delta(text: str) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": {"content": text}, "finish_reason": None}]


def streams(end: bytes = b"\n", *, spaced: bool = False) -> tuple[bytes, bytes]:
    """A stream that was asked for its usage, and the same as it is when it was not."""

    def both(**fields: Any) -> tuple[bytes, bytes]:
        return chunk(None, end=end, spaced=spaced, **fields), chunk(end=end, spaced=spaced, **fields)

    pairs = [
        (b": keep-alive" + end * 2,) * 2,
        both(choices=[], prompt_filter_results=[{"prompt_index": 0}]),  # Azure begins so
        both(choices=delta('he said "usage":null, \\ and日本\n')),
        (b": a comment that belongs to nothing" + end,) * 2,
        both(choices=delta("b")),
        (chunk(USAGE, end=end, spaced=spaced, choices=[]), b""),
        both(choices=[], moderation={"flagged": False}),  # may follow the usage
        (b'event: error%bdata: {"error":{"message":"usage","code":"x"}}%b' % (end, end * 2),) * 2,
        (b"data: [DONE]" + end * 2,) * 2,
    ]
    return b"".join(asked for asked, _ in pairs), b"".join(unasked for _, unasked in pairs)


def through(pieces: Iterator[bytes] | list[bytes]) -> bytes:
    cutter = UsageCutter()
    return b"".join(cutter.feed(piece) for piece in pieces) + cutter.finish()


ENDS = [b"\n", b"\r\n", b"\r"]


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_every_split_over_two_reads(end: bytes, spaced: bool) -> None:
    asked, unasked = streams(end, spaced=spaced)
    for at in range(len(asked) + 1):
        assert through([asked[:at], asked[at:]]) == unasked, at
    assert through([asked[at : at + 1] for at in range(len(asked))]) == unasked


@given(
    end=st.sampled_from(ENDS),
    sizes=st.lists(st.integers(0, 90), min_size=1, max_size=60),
)
def test_any_split_over_reads(end: bytes, sizes: list[int]) -> None:
    asked, unasked = streams(end)
    pieces, rest = [], asked
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert through([*pieces, rest]) == unasked


@pytest.mark.parametrize("end", ENDS)
def test_complete_event_is_passed_on_at_once(end: bytes) -> None:
    cutter = UsageCutter()
    for text in ("a", "b"):
        assert cutter.feed(chunk(None, end=end, choices=delta(text))) == chunk(end=end, choices=delta(text))
    assert cutter.feed(b": ping" + end) == b": ping" + end
    assert cutter.feed(chunk(USAGE, end=end, choices=[])) == b""
    assert cutter.feed(b"data: [DONE]" + end) == b"data: [DONE]" + end
    assert cutter.feed(end) == end


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", [b"", b"event: x"])
def test_events_parted_by_one_line_end_are_passed_on_at_once(end: bytes, name: bytes) -> None:
    """None is held for the blank line that never comes, and each loses its usage as any other."""
    before = name + end if name else b""

    def line(usage: Any = UNASKED, **fields: Any) -> bytes:
        return before + chunk(usage, end=end, **fields).removesuffix(end)

    steps = [
        (line(None, choices=delta("a")), line(choices=delta("a"))),
        (line(None, choices=delta("b")), line(choices=delta("b"))),
        (line(USAGE, choices=[]), b""),
        (before + b"data: [DONE]" + end, before + b"data: [DONE]" + end),
    ]
    cutter = UsageCutter()
    assert [cutter.feed(asked) for asked, _ in steps] == [unasked for _, unasked in steps]
    assert cutter.finish() == b""
    stream, unasked = (b"".join(parts) for parts in zip(*steps, strict=True))
    for at in range(len(stream) + 1):
        assert through([stream[:at], stream[at:]]) == unasked, at
    assert through([stream[at : at + 1] for at in range(len(stream))]) == unasked


def test_event_of_many_lines_is_read_in_linear_time() -> None:
    event = b"data: {}x\n" * 100_000 + b"\n"
    started = time.process_time()
    assert through([event[at : at + 1000] for at in range(0, len(event), 1000)]) == event
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "event",
    [
        chunk(USAGE, choices=delta("a")),  # compatible servers put it there unasked
        b'data: {"type":"response.created","response":{"usage":null}}\n\n',
        b'data: {"choices":{},"usage":null}\n\n',
        b'data: {"choices":[],"usage":[]}\n\n',
        b'data: {"choices":[],"usage":null\n\n',
        b'data: {"choices":[],"usage":null} x\n\n',
        b'data: {"choices":[],"x":"\xff","usage":null}\n\n',
        b'data: {"choices":[],"x":' + b"[" * 100_000 + b',"usage":null}\n\n',
        b'data: ["usage"]\n\n',
        b'database: {"choices":[],"usage":null}\n\n',
        b'{"choices":[],"usage":null}\n\n',
        b'data: {"error":{"message":"\\"usage\\""}}\n\n',
        b'data: {"choices":[],\ndata: "usage":null}\n\n',
        b"\n\n\n",
        b"\r\n\r\n",
        b"\r\r\n\n",
        b"event: x\nid: 3\nretry: 4\n\n",
    ],
)
def test_what_asking_does_not_cause_is_left_alone(event: bytes) -> None:
    for at in range(0, len(event) + 1, max(1, len(event) // 200)):
        assert through([event[:at], event[at:]]) == event


@pytest.mark.parametrize(
    ("event", "passed"),
    [
        (b'data: {"usage":null,"choices":[1]}\n\n', b'data: {"choices":[1]}\n\n'),
        (b'data: { "usage" : null , "choices":[1]}\n\n', b'data: { "choices":[1]}\n\n'),
        (b'data:{"choices":[1] , "usage":null }\n\n', b'data:{"choices":[1] }\n\n'),
        (
            b'data: {"object":"chat.completion.chunk","usage":null}\n\n',  # ends an audio answer
            b'data: {"object":"chat.completion.chunk"}\n\n',
        ),
        (b'\xef\xbb\xbfdata: {"choices":[1],"usage":null}\n\n', b'\xef\xbb\xbfdata: {"choices":[1]}\n\n'),
        (
            b'id: 7\ndata: {"choices":[1],"usage":null}\nretry: 3\n\n',
            b'id: 7\ndata: {"choices":[1]}\nretry: 3\n\n',
        ),
        (
            b'data: {"choices":[],"usage":{"a":1},"moderation":{"x":1}}\n\n',
            b'data: {"choices":[],"moderation":{"x":1}}\n\n',
        ),
        (b'data: {"choices":[],\ndata: "usage":{"a":1}}\n\n', b""),
        (b'id: 7\ndata: {"choices":[],"usage":{"a":1}}\n\n', b""),
    ],
)
def test_places_of_the_usage(event: bytes, passed: bytes) -> None:
    for at in range(len(event) + 1):
        assert through([event[:at], event[at:]]) == passed


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_end_of_a_stream_without_a_blank_line(ending: bytes) -> None:
    last = chunk(None, choices=delta("a")).rstrip(b"\n") + ending
    assert through([last]) == chunk(choices=delta("a")).rstrip(b"\n") + ending
    assert through([chunk(USAGE, choices=[]).rstrip(b"\n") + ending]) == b""
    assert through([b'data: {"choices":[],"us' + ending]) == b'data: {"choices":[],"us' + ending


def test_flush_in_the_middle_loses_nothing() -> None:
    """An HTTP/2 server may send an empty frame anywhere, which looks like the end."""
    asked, _ = streams()
    for at in range(len(asked)):
        cutter = UsageCutter()
        passed = cutter.feed(asked[:at]) + cutter.finish() + cutter.feed(asked[at:]) + cutter.finish()
        assert passed.endswith(b"data: [DONE]\n\n")
        assert passed.count(b"data:") in (6, 7)  # the usage, cut within, may pass in two pieces


def test_long_event_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_cutter, "LONGEST_EVENT", 1000)
    cutter = UsageCutter()
    assert cutter.feed(b"data: " + b"x" * 900) == b""
    assert len(cutter.feed(b"y" * 200)) == 1106
    assert cutter.feed(b"z") == b"z"
    assert cutter.feed(b'"usage"\r') == b'"usage"\r'
    assert cutter.feed(b"\n\r") == b"\n\r"
    following = b"\n" + chunk(None, choices=delta("a"))
    assert cutter.feed(following) == b"\n" + chunk(choices=delta("a"))
    assert not cutter.held


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_bytes_that_are_no_event_stream_pass(pieces: list[bytes]) -> None:
    assert through(pieces) == b"".join(pieces)


@pytest.mark.parametrize("padding", ["", ',"obfuscation":"aB3"', ',"obfuscation":""', ',"obfuscation":"\\n"'])
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\n", "\r\n"])
def test_the_usual_event_is_cut_by_its_looks_as_it_is_by_reading_it(padding: str, end: str) -> None:
    said = json.dumps('a "usage":null} in a text')
    event = f'data: {{"choices":[{{"delta":{{"content":{said}}}}}],"usage":null{padding}}}{end}'.encode()
    cut = without_usage(event)
    assert cut == usage_cutter._without_usage(event) == event.replace(b',"usage":null', b"", 1)


def test_recorded_streams() -> None:
    """Every stream that was asked for usage comes out as a stream that was not: no usage, all else there."""
    seen = 0
    for exchange in corpus.load():
        body = corpus.response_body(exchange)
        if exchange["host_kind"] != "openai" or exchange["endpoint"] != "chat" or b"data:" not in body[:99]:
            continue
        before = [line for line in body.splitlines() if line.startswith(b"data: {")]
        after = [line for line in through([body]).splitlines() if line.startswith(b"data: {")]
        kept = [json.loads(line[6:]) for line in before]
        kept = [value for value in kept if value.get("choices") or not value.get("usage")]
        seen += len(kept) < len(before)
        for value in kept:
            value.pop("usage", None)
        assert [json.loads(line[6:]) for line in after] == kept, exchange["id"]
        if b'"usage"' not in body:
            assert through([body]) == body
    assert seen >= 60

"""Event streams of any length, in pieces of any size: only deltas of text are dropped."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from addons.openai.http.event_scan import LAST, PLAIN_DELTAS, EventScan

CHUNK = {
    "id": "c",
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": " token"}}],
}
CALL = {
    "choices": [
        {
            "index": 0,
            "delta": {"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": "{"}}]},
        }
    ]
}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}


def stream(*events: Any, end: str = "\n\n") -> bytes:
    return "".join(f"data: {json.dumps(event)}{end}" for event in events).encode() + b"data: [DONE]\n\n"


def scan(body: bytes, size: int, keep: int = 1000) -> EventScan:
    found = EventScan(keep)
    for at in range(0, len(body), size):
        found.feed(body[at : at + size])
    found.finish()
    return found


@pytest.mark.parametrize("size", [1, 13, 4096])
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\n", "\r\r"])
def test_what_is_more_than_text_stays(size: int, end: str) -> None:
    found = scan(stream(*[CHUNK] * 100, CALL, *[CHUNK] * 100, STOP, USAGE, end=end), size)
    values = [value for _, value in found.events]
    assert values[0] == CHUNK
    assert values[-3:] == [CALL, STOP, USAGE]
    assert found.done
    assert len(values) < 20
    assert found.dropped > 10_000


def test_names_and_items_of_responses() -> None:
    delta = {"type": "response.output_text.delta", "delta": "x" * 50}
    item = {"type": "response.output_item.done", "output_index": 0, "item": {"type": "web_search_call"}}
    last = {"type": "response.completed", "response": {"status": "completed", "usage": {"total_tokens": 3}}}
    body = "".join(
        f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in [*[delta] * 100, item, last]
    ).encode()
    found = scan(body, 1000)
    assert found.events[-2:] == [(str(item["type"]), item), (str(last["type"]), last)]


@pytest.mark.parametrize("size", [1, 2, 13, 100])
def test_pieces_of_any_size_leave_the_same_out(size: int) -> None:
    """Also an event that has nothing but its type, a name that is all that tells, and a line end alone."""
    delta = {"type": "agent.message.delta", "delta": "x" * 50}
    created = {"type": "agent.session.turn.created", "turn": {"id": "turn_1"}}
    events = [
        *[("delta", delta)] * 40,
        ("error", created),
        *[("delta", delta)] * 40,
        ("ended", {"type": "x"}),
    ]
    body = "".join(f"event: {name}\ndata: {json.dumps(value)}\n\n" for name, value in events).encode()
    whole, split = scan(body, len(body)), scan(body, size)
    assert ("error", created) in whole.events
    assert (split.events, split.dropped) == (whole.events, whole.dropped)


def test_of_a_usage_with_every_piece_the_last_stays() -> None:
    pieces = [{**CHUNK, "usage": {"prompt_tokens": 9, "completion_tokens": number}} for number in range(5000)]
    found = scan(stream(*pieces), 4096)
    assert found.events[-1][1]["usage"]["completion_tokens"] == 4999
    assert len(found.events) < LAST + 50


def test_an_event_that_is_longer_than_all_that_is_kept() -> None:
    last = {
        "type": "response.completed",
        "response": {"output": ["A" * 2_000_000], "usage": {"total_tokens": 3}},
    }
    found = scan(stream(*[CHUNK] * 100, last), 2**16, keep=10_000)
    assert found.events[-1][1]["response"]["usage"] == {"total_tokens": 3}
    assert len(json.dumps(found.events)) < 20_000


OBFUSCATED = {
    "type": "response.output_text.delta",
    "item_id": "msg_1",
    "delta": 'a "quoted" \n word',
    "logprobs": [],
    "sequence_number": 5,
    "obfuscation": "x",
}
WHOLE = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 5,
    "model": "gpt-4o",
    "system_fingerprint": None,
    "choices": [
        {"index": 0, "delta": {"content": 'a "quoted" \n word'}, "logprobs": None, "finish_reason": None}
    ],
    "usage": None,
}


DELTAS: dict[str, dict[str, Any]] = {
    "responses": OBFUSCATED,
    "whole chunk": WHOLE,
    "short chunk": CHUNK,
    "reasoning": {**WHOLE, "choices": [{"index": 0, "delta": {"reasoning_content": "x", "content": None}}]},
    "arguments": {
        **WHOLE,
        "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}],
    },
    "thinking": {"type": "response.reasoning_summary_text.delta", "item_id": "r", "delta": "x"},
}


def text_of(events: list[dict[str, Any]], separators: tuple[str, str], end: str = "\n\n") -> bytes:
    """The stream of `events` as OpenAI writes it: those of Responses with their names."""
    lines = []
    for event in events:
        name = f"event: {event['type']}\n" if "type" in event else ""
        lines.append(f"{name}data: {json.dumps(event, separators=separators)}{end}")
    return "".join(lines).encode()


@pytest.mark.parametrize("end", ["\n\n", "\n"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("delta", DELTAS.values(), ids=DELTAS)
def test_runs_of_plain_deltas_are_what_is_left_out_one_by_one(
    delta: dict[str, Any], separators: tuple[str, str], end: str
) -> None:
    """The short cut for runs is taken, and gives what a stream of single bytes gives without it."""
    body = text_of([*[delta] * 200, CALL, *[delta] * 200, USAGE], separators, end)
    run = text_of([delta] * 3, separators, end)
    taken = [found.end() for form in PLAIN_DELTAS if (found := form.match(run + b"data: "))]
    assert taken == [len(run)]
    whole, pieces, single = (scan(body, size) for size in (len(body), 5000, 1))
    for one in (whole, pieces):
        assert (one.events, one.dropped, one.unparsed) == (single.events, single.dropped, single.unparsed)
    assert whole.events[-2:] == [("message", CALL), ("message", USAGE)]


@pytest.mark.parametrize(
    "more",
    [
        {"usage": {"total_tokens": 3}},
        {"error": {"message": "no"}},
        {"timings": {"predicted_n": 3}},
        {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "delta": {"content": "x"}, "usage": {"total_tokens": 3}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"id": "c", "function": {"arguments": "x"}}]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}}]},
        {"choices": [{"index": 0, "delta": {"function_call": {"name": "f", "arguments": ""}}}]},
        {"choices": [{"index": 0, "delta": {"content": "x"}, "error": {"message": "no"}}]},
        {"response": {"status": "completed"}},
    ],
)
def test_no_event_that_says_more_is_a_plain_delta(more: dict[str, Any]) -> None:
    for event in ({**WHOLE, **more}, {**OBFUSCATED, **more}):
        body = text_of([event], (",", ":"))
        assert not any(form.match(body) for form in PLAIN_DELTAS)


@pytest.mark.parametrize("end", ["\n\n", "\n"])
@pytest.mark.parametrize("delta", DELTAS.values(), ids=DELTAS)
def test_speed(delta: dict[str, Any], end: str) -> None:
    """Processor time, since test machines are shared; a fifth of what is promised, for slow ones."""
    written = text_of([delta], (",", ":"), end) * 50_000 + text_of([USAGE], (",", ":"))
    started = time.process_time()
    found = scan(written, 2**16)
    seconds = time.process_time() - started
    assert found.events[-1][1] == USAGE
    assert len(written) / 1e6 / seconds > 20

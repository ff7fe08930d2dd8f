"""Measure how fast answers beyond the capture limit are read: work of a thread beside the event loop."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from addons.openai.http.scan import Scan

PIECE = 2**16
"""Bytes that come at a time."""
VARIED = 2000
"""Different events, or parts of a list, that are repeated."""
MB = 10**6
WORDS = ["the", "river", '"runs"', "from", "Spain", "to", "the", "sea\n,", "and", "towns", "lie", "on", "é"]

Json = dict[str, Any]


@click.command()
@click.option("--megabytes", default=32.0, show_default=True, help="Size of each answer.")
@click.option("--limit", default=4.0, show_default=True, help="Megabytes that are kept (llm_capture_limit).")
@click.option("--rounds", default=3, show_default=True, help="The fastest of so many is shown.")
def scan(megabytes: float, limit: float, rounds: int) -> None:
    """Megabytes a second of CPU at which long answers are read, by what they are made of."""
    table = Table(title=f"Answers of {megabytes:g} MB, MB/s of CPU (best of {rounds})", box=None)
    for column in ("answer", "MB/s", "left out"):
        table.add_column(column, justify="right")
    for name, body in _bodies(int(megabytes * MB)):
        seconds, dropped = min(_read(body, int(limit * MB)) for _ in range(rounds))
        table.add_row(name, f"{len(body) / MB / seconds:.0f}", f"{dropped / len(body):.0%}")
    Console().print(table)


def _read(body: bytes, limit: int) -> tuple[float, int]:
    """Give seconds of CPU, and the bytes left out.

    Raises AssertionError where the usage at the end is lost.
    """
    begun = time.process_time()
    reader = Scan(body[:limit], limit)
    for at in range(limit, len(body), PIECE):
        reader.feed(body[at : at + PIECE])
    found = reader.finish()
    seconds = time.process_time() - begun
    assert found is not None
    last = found.value if found.events is None else found.events[-1][1]
    assert last["usage"]["total_tokens"] == 3
    return seconds, found.dropped


def _bodies(size: int) -> Iterator[tuple[str, bytes]]:
    chance = random.Random(1)  # noqa: S311 - the same answers in each run
    yield "image, base64", _json('"result": "', b"A", '"', size)
    prose = json.dumps(" ".join(chance.choices(WORDS, k=50_000)))[1:-1].encode()
    yield "text", _json('"text": "', prose, '"', size)
    vectors = [{"object": "embedding", "embedding": _numbers(chance, 1536)} for _ in range(20)]
    yield "embeddings", _list('{"data": [', vectors, "]", size)
    likely = [_probability(chance) for _ in range(VARIED)]
    yield "log probabilities", _list('{"choices": [{"logprobs": {"content": [', likely, "]}}]", size)
    for name, make in STREAMS.items():
        events = [make(chance.choice(WORDS)) for _ in range(VARIED)]
        yield f"stream: {name}", _stream(events, size)
        if name in ("chat", "responses"):
            yield f"stream: {name}, parted by one line end", _stream(events, size, "\n")


def _json(before: str, middle: bytes, after: str, size: int) -> bytes:
    end = b'}], "model": "m", "usage": {"total_tokens": 3}}'
    return b'{"output": [{' + before.encode() + middle * (size // len(middle)) + after.encode() + end


def _list(before: str, items: list[Json], after: str, size: int) -> bytes:
    part = ",".join(map(json.dumps, items)).encode()
    end = after.encode() + b', "usage": {"total_tokens": 3}}'
    return before.encode() + b",".join([part] * (size // len(part))) + end


def _stream(events: list[Json], size: int, end: str = "\n\n") -> bytes:
    lines = (
        (f"event: {event['type']}\n" if "type" in event else "")
        + f"data: {json.dumps(event, separators=(',', ':'))}{end}"
        for event in events
    )
    part = "".join(lines).encode()
    return part * (size // len(part)) + b'data: {"choices":[],"usage":{"total_tokens":3}}\n\ndata: [DONE]\n\n'


def _numbers(chance: random.Random, count: int) -> list[float]:
    return [chance.uniform(-1, 1) for _ in range(count)]


def _probability(chance: random.Random) -> Json:
    tokens = [{"token": word, "logprob": -chance.random(), "bytes": [1, 2, 3]} for word in WORDS[:6]]
    return {**tokens[0], "top_logprobs": tokens[1:]}


def _chunk(delta: Json, **more: Any) -> Json:
    choice = {"index": 0, "delta": delta, "logprobs": more.pop("logprobs", None), "finish_reason": None}
    head = {"id": "chatcmpl-0123456789abcdef", "object": "chat.completion.chunk", "created": 1795900000}
    return {**head, "model": "gpt-5.4-2026-03-05", "choices": [choice], "usage": None, **more}


def _typed(kind: str, word: str) -> Json:
    place = {"item_id": "msg_0123456789abcdef", "output_index": 0, "content_index": 0}
    return {"type": kind, "sequence_number": 5, **place, "delta": word, "obfuscation": "aB3dE6"}


def _call(word: str) -> Json:
    return {"tool_calls": [{"index": 0, "function": {"arguments": word}}]}


STREAMS: dict[str, Callable[[str], Json]] = {
    "chat": lambda word: _chunk({"content": word}),
    "chat, reasoning": lambda word: _chunk({"reasoning_content": word}, token_ids=None),
    "chat, arguments of a tool": lambda word: _chunk(_call(word)),
    "chat, log probabilities": lambda word: _chunk(
        {"content": word},
        logprobs={"content": [_probability(random.Random(1))]},  # noqa: S311
    ),
    "chat, usage with each piece": lambda word: _chunk({"content": word}, usage={"total_tokens": 2}),
    "responses": lambda word: _typed("response.output_text.delta", word),
    "responses, reasoning": lambda word: _typed("response.reasoning_summary_text.delta", word),
    "responses, arguments": lambda word: _typed("response.function_call_arguments.delta", word),
}

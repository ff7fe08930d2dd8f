"""Find when the first token came: the first event of a stream that carries text, arguments or audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from addons.openai.http.body import header
from addons.openai.http.encoding import Decoder, codings_of
from addons.openai.http.messages import Response
from addons.openai.http.parsed_events import ParsedEvents
from addons.openai.http.sse import Event, Parser

BUDGET = 16 * 2**20
"""Bytes to decode in search of the first content."""
MOST_LINES = 100_000
"""Lines to look at."""
STEP = 2**18
"""Bytes to decode at a time."""
BOOKKEEPING = frozenset({"role", "index", "id", "type", "obfuscation", "name", "object"})


def first_content(response: Response, chunks: Sequence[bytes]) -> int | None:
    """Give the index in `chunks` (the pieces of the wire body, in order) that completes the first content.

    None for an answer that is not an event stream, or one that says nothing.
    """
    if "json" in header(response.headers, "content-type").lower():
        return None
    decoder = Decoder(codings_of(header(response.headers, "content-encoding")), budget=BUDGET)
    parser, lines = Parser(response.parsed), 0
    for index, chunk in enumerate(chunks):
        decoder.push(chunk)
        while not decoder.done and lines < MOST_LINES:
            decoded = decoder.pull(STEP)
            lines += decoded.count(b"\n")
            if any(_tells(event, response.parsed) for event in parser.feed(decoded)):
                return index
    told_last = any(_tells(event, response.parsed) for event in parser.finish())
    return len(chunks) - 1 if told_last else None


def _tells(event: Event, parsed: ParsedEvents) -> bool:
    value = parsed.read(event.data)
    return value is not None and _has_content(value)


def _has_content(event: Mapping[str, Any]) -> bool:
    delta = event.get("delta")
    if isinstance(delta, str):
        return bool(delta)
    if isinstance(delta, Mapping):  # a thread's message
        return _says_something(delta)
    if event.get("b64_json") or event.get("audio"):
        return True
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, Mapping) and (choice.get("text") or _says_something(choice.get("delta"))):
            return True
    return False


def _says_something(value: Any) -> bool:
    """Tell whether there is a text below `value` that is not mere bookkeeping."""
    if isinstance(value, Mapping):
        return any(_says_something(item) for key, item in value.items() if key not in BOOKKEEPING)
    if isinstance(value, list):
        return any(_says_something(item) for item in value)
    return isinstance(value, str) and bool(value)

"""Read ``stream_options.include_usage`` of a request, and add it by inserting bytes.

A streamed answer of ``/chat/completions`` or ``/completions`` tells its usage only where the request asks for
it (API reference, "Create chat completion", ``stream_options``). The body is never written anew: all its
bytes stay, in their order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from addons.openai.http.members import BOM, Insertion, Member, inserted, insertion, last, members

ASK = '"include_usage":true'


@dataclass(frozen=True, slots=True)
class StreamedRequest:
    """Holds the body of a request with ``"stream": true``."""

    include_usage: Any
    """It is what it says: true, false, None for nothing (absent or null); all else is for the API to
    refuse."""
    keys: frozenset[str]
    """It is that of the body."""
    question: Insertion
    """It is what asks for the usage, in the place of a ``false``."""


def insert(body: bytes) -> bytes | None:
    """Give `body` with ``stream_options.include_usage`` set, or None where that must not or cannot be done.

    >>> insert(b'{"model": "gpt-4o", "stream": true}')
    b'{"model": "gpt-4o", "stream": true,"stream_options":{"include_usage":true}}'
    >>> insert(b'{"stream": true, "stream_options": {"include_usage": false}}') is None
    True
    """
    offset = len(BOM) if body.startswith(BOM) else 0
    try:
        text = body[offset:].decode("utf-8")
        request = read(text, members(text), offset=offset)
    except (ValueError, RecursionError):
        return None
    return inserted(body, [request.question]) if request and request.include_usage is None else None


def read(text: str, found: list[Member], *, offset: int = 0) -> StreamedRequest | None:
    """Give a streamed request, from the members of its body; None where it is none.

    `text` is the JSON object whose members they are, and stands behind `offset` bytes of the body.
    """
    stream = last(found, "stream")
    if stream is None or stream.value is not True:
        return None
    options = last(found, "stream_options")
    said = options.value if options else None
    end: int | None = None
    if options is not None and isinstance(said, dict):
        # Before the closing brace: where the key is there, and null, the later one counts.
        at, added = options.end - 1, f",{ASK}" if said else ASK
        if said.get("include_usage") is not None:
            at, end = options.start, options.end
            added = f'"stream_options":{json.dumps({**said, "include_usage": True}, separators=(",", ":"))}'
        said = said.get("include_usage")
    else:
        # The body has a member, `stream`; a `stream_options` of null is overruled by the later one.
        at, added = text.rindex("}"), f',"stream_options":{{{ASK}}}'
    keys = frozenset(member.key for member in found)
    return StreamedRequest(said, keys, insertion(text, at, added, end=end, offset=offset))

"""``stream_options.include_usage`` of a request, read, and added by inserting bytes.

A streamed answer of ``/chat/completions`` or ``/completions`` tells its usage only where the request asks for
it (API reference, "Create chat completion", ``stream_options``). The body is never written anew: all its
bytes stay, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from addons.openai.members import last, members

LARGEST = 8 * 2**20
"""Bytes of a body beyond which it is not read: it would hold up the event loop for too long."""

BOM = b"\xef\xbb\xbf"
ASK = '"include_usage":true'


@dataclass(frozen=True, slots=True)
class StreamedRequest:
    """The body of a request with ``"stream": true``."""

    include_usage: Any
    """What it says: true, false, None for nothing (absent or null); all else is for the API to refuse."""
    keys: frozenset[str]
    """Of the body."""
    asking: bytes
    """The same body with the usage asked for; only of use where `include_usage` is None."""


def insert(body: bytes) -> bytes | None:
    """`body` with ``stream_options.include_usage`` set, or None where that must not or cannot be done.

    >>> insert(b'{"model": "gpt-4o", "stream": true}')
    b'{"model": "gpt-4o", "stream": true,"stream_options":{"include_usage":true}}'
    >>> insert(b'{"stream": true, "stream_options": {"include_usage": false}}') is None
    True
    """
    request = read(body)
    return request.asking if request and request.include_usage is None else None


def read(body: bytes) -> StreamedRequest | None:
    """`body` as a streamed request; None where it is none, or not JSON in UTF-8. Never raises."""
    if len(body) > LARGEST or not (b"stream" in body or b"\\u" in body):
        return None
    start = len(BOM) if body.startswith(BOM) else 0
    try:
        text = body[start:].decode("utf-8")
        found = members(text)
    except (ValueError, RecursionError):
        return None
    stream = last(found, "stream")
    if stream is None or stream.value is not True:
        return None
    options = last(found, "stream_options")
    said = options.value if options else None
    if options is not None and isinstance(said, dict):
        # Before the closing brace: where the key is there, and null, the later one counts.
        at, added = options.end - 1, f",{ASK}" if said else ASK
        said = said.get("include_usage")
    else:
        # The body has a member, `stream`; a `stream_options` of null is overruled by the later one.
        at, added = text.rindex("}"), f',"stream_options":{{{ASK}}}'
    cut = start + (at if text.isascii() else len(text[:at].encode()))
    asking = body[:cut] + added.encode() + body[cut:]
    return StreamedRequest(said, frozenset(member.key for member in found), asking)

"""Read recorded traffic after the fact: mitmproxy's flow files, HAR, and JSON Lines.

Each reader gives :class:`Recorded`; from there on it is the way of live traffic: an exchange, then its event.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from addons.importing import flows, har, lines
from addons.importing.exchange import Damaged, Recorded, Unreadable, event_id, to_exchange

__all__ = ["Damaged", "Recorded", "Unreadable", "detect", "event_id", "read", "to_exchange"]

Reader = Callable[[BinaryIO], Iterator[Recorded]]

READERS: dict[str, Reader] = {"flows": flows.read, "har": har.read, "jsonl": lines.read}
PEEK = 64 * 1024


def read(file: BinaryIO) -> Iterator[Recorded]:
    """Give the exchanges of a file of any of the forms, gzipped or not.

    Raises Unreadable where it is none of them, Damaged (with the position) where it breaks off; what came
    before has been given by then.
    """
    whole = io.BufferedReader(_Raw(file), PEEK)
    if whole.peek(2)[:2] == b"\x1f\x8b":
        whole = io.BufferedReader(_Raw(gzip.GzipFile(fileobj=whole)), PEEK)
    try:
        yield from READERS[detect(whole.peek(PEEK)[:PEEK])](whole)
    except (EOFError, gzip.BadGzipFile) as error:
        raise Damaged("the gzip file is cut off or altered") from error


class _Raw(io.RawIOBase):
    """Gives any readable thing as what BufferedReader takes: its beginning can be seen before it is read."""

    def __init__(self, file: BinaryIO | gzip.GzipFile) -> None:
        # `read1` gives what there is; so a gzip file that is cut off gives its beginning.
        self._read: Callable[[int], bytes] = getattr(file, "read1", file.read)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def detect(start: bytes) -> str:
    """Say which form a file has, by its first bytes: ``flows``, ``har`` or ``jsonl``. Raises Unreadable.

    >>> detect(b'{"log": {"version": "1.2"')
    'har'
    """
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise Unreadable("it is empty")
    if start[:1].isdigit() and b":" in start[:12]:
        return "flows"  # tnetstrings: a length, a colon
    if not text.startswith(b"{"):
        raise Unreadable("it is neither a mitmproxy flow file, nor HAR, nor JSON Lines")
    line, _, rest = text.partition(b"\n")
    try:
        value = json.loads(line)
    except ValueError:
        # One line that is longer than what is seen of it, or JSON over many lines.
        first_key = text[1:200].lstrip()
        return "har" if first_key.startswith(b'"log"') or (rest and line.strip() == b"{") else "jsonl"
    return "har" if isinstance(value, dict) and "log" in value else "jsonl"

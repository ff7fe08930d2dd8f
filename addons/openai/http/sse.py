"""Parse event streams by the rules of the HTML standard (section 9.2.6, "Interpreting an event stream").

With two additions for a recorder: what a stream that breaks off has left is given by :meth:`Parser.finish`,
and where servers part their events by one line end only, each line of data that is a JSON object is an event.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from addons.openai.http.parsed_events import ParsedEvents

TWICE = "data: "
"""It is what stands before the data where a gateway writes out events that are written out already."""
DONE = "[DONE]"
"""The data of the event that ends most of the API's streams."""


@dataclass(frozen=True, slots=True)
class Event:
    """Holds one dispatched event."""

    type: str
    """``message`` where the stream names none."""
    data: str
    id: str = ""
    """The last id that the stream has named."""


class Parser:
    """Takes bytes in, in pieces of any size; gives events.

    >>> parser = Parser()
    >>> list(parser.feed(b"data: a\\r\\nda")) + list(parser.feed(b"ta: b\\r\\n\\r\\n"))
    [Event(type='message', data='a\\nb', id='')]
    """

    def __init__(self, parsed: ParsedEvents | None = None) -> None:
        self._parsed = parsed or ParsedEvents()
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._line: list[str] = []
        self._at_start = True
        self._after_cr = False
        self._type = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, data: bytes) -> Iterator[Event]:
        """Give the events that `data` completes."""
        yield from self._take(self._text.decode(data))

    def finish(self) -> Iterator[Event]:
        """Give the event that the end of the stream cuts off.

        A browser would drop it; here it is the last thing that the client was sent, whole or in part.
        """
        yield from self._take(self._text.decode(b"", final=True) + "\n\n")

    def _take(self, text: str) -> Iterator[Event]:
        if text and self._at_start:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        if text and self._after_cr:
            self._after_cr = False
            text = text.removeprefix("\n")
        if "\r" in text:
            # A CR at the very end may be half of a CRLF: end the line now, and skip the LF when it comes.
            self._after_cr = text.endswith("\r")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = text.split("\n")
        for line in lines:
            self._line.append(line)
            yield from self._process("".join(self._line))
            self._line.clear()
        if rest:
            self._line.append(rest)

    def _process(self, line: str) -> Iterator[Event]:
        if not line:
            yield from self._dispatch()
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name in ("data", "event") and len(self._data) == 1 and is_whole(self._data[0], self._parsed):
            yield from self._dispatch()
        if name == "data":
            self._data.append(value.removeprefix(TWICE))
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _dispatch(self) -> Iterator[Event]:
        if self._data:
            yield Event(self._type or "message", "\n".join(self._data), self._id)
        self._type = ""
        self._data = []


def is_whole(data: str, parsed: ParsedEvents | None = None) -> bool:
    """Tell whether a line of data is an event by itself, of those that this API sends."""
    bare = data.strip()
    if bare == DONE:
        return True
    return bare.startswith("{") and bare.endswith("}") and (parsed or ParsedEvents()).read(data) is not None


def data_of(value: bytes) -> str:
    """Give what stands behind ``data:`` in a line as :class:`Parser` does."""
    written = value.decode("utf-8", "replace").rstrip("\r\n")
    return written.removeprefix(" ").removeprefix(TWICE)


def parse(body: bytes, parsed: ParsedEvents | None = None) -> Iterator[Event]:
    """Give the events of a whole body."""
    parser = Parser(parsed)
    yield from parser.feed(body)
    yield from parser.finish()

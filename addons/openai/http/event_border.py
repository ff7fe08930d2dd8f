"""Find where an event stream may be ended: between two events, as the reader of streams parts them.

See :mod:`addons.openai.http.sse`. Lines are followed as they pass, so that the place is known at any time,
also in streams whose events are parted by one line end only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from addons.openai.http.parsed_events import ParsedEvents
from addons.openai.http.sse import data_of, is_whole

LINE_END = re.compile(rb"\r\n|\n|\r")
LONGEST_LINE = 2**20
"""Bytes of a line that are held; of a longer one only both ends are looked at."""
_ENDS = 64


class EventBorder:
    """Takes bytes in, in pieces of any size; says where an event ends."""

    def __init__(self, parsed: ParsedEvents | None = None) -> None:
        self._parsed = parsed
        """It keeps what has to be parsed for that, for those who read the stream later."""
        self._line = bytearray()
        """It is what has come of a line that has not ended."""
        self._shortened = False
        """It tells whether its middle is not held."""
        self._newline = b"\n"
        self._after_cr = False
        """It tells whether the last piece ended with a CR, which may be half of a CRLF."""
        self._inside = False
        """It tells whether a field of an event has come, and no blank line."""
        self._data = b""
        """The last line of data of that event."""
        self._data_lines = 0
        self._at_start = True

    def feed(self, data: bytes) -> None:
        """Take what has passed."""
        for _ in self._walk(data):
            pass

    def find(self, data: bytes) -> tuple[int, bytes] | None:
        """Find the first place in `data`, which comes next, where no event is cut in two.

        Returns its offset, and what the event before it lacks: a blank line, or nothing. None where all of
        `data` is within one event.
        After a place was found nothing more can be fed.
        """
        if (missing := self._missing()) is not None:
            return 0, missing
        for offset in self._walk(data):
            if (missing := self._missing()) is not None:
                return offset, missing
        return None

    def _missing(self) -> bytes | None:
        """Say what an event lacks to be complete: nothing, a line end, or (None) more than we can give."""
        if self._line:
            return None
        if not self._inside:
            return b""
        return self._newline if self._is_event() else None

    def _is_event(self) -> bool:
        """Tell whether what has come of an event is one line of data that is an event by itself."""
        return self._data_lines == 1 and is_whole(data_of(self._data), self._parsed)

    def _walk(self, data: bytes) -> Iterator[int]:
        """Follow `data`, and stop after each line with the offset of the next."""
        at = 0
        if data and self._after_cr:
            self._after_cr = False
            at = int(data.startswith(b"\n"))
        for end in LINE_END.finditer(data, at):
            self._line += data[at : end.start()]
            at, self._newline = end.end(), end[0]
            self._after_cr = at == len(data) and self._newline == b"\r"
            self._end_line()
            yield at
        self._line += data[at:]
        if len(self._line) > LONGEST_LINE:
            del self._line[_ENDS:-_ENDS]
            self._shortened = True

    def _end_line(self) -> None:
        line = bytes(self._line)
        self._line.clear()
        if self._at_start:
            self._at_start, line = False, line.removeprefix(b"\xef\xbb\xbf")
        name, _, value = line.partition(b":")
        if self._shortened:
            self._shortened = False
            is_object = value.lstrip().startswith(b"{") and value.rstrip().endswith(b"}")
            value = b"{}" if is_object else b""
        if not line or (name in (b"data", b"event") and self._is_event()):
            self._inside, self._data, self._data_lines = False, b"", 0
        if name == b"data":
            self._data_lines += 1
            self._data = value
        self._inside = self._inside or bool(name)  # a comment, which has no name, belongs to no event

"""Takes out of an event stream what asking for usage has put into it.

A server that was asked (see :mod:`addons.openai.usage.include_usage`) writes ``"usage":null`` into every
chunk, and one more chunk, without choices, that holds the usage (API reference, "The chat completion chunk
object"). Both are cut out as bytes; everything else passes as it came, at once. Only the event that a read
has left incomplete is held back. A line of data that is an event by itself is not held for the line after it,
which is blank by the HTML standard (section 9.2.6), and does not come from servers that leave it out.
"""

from __future__ import annotations

import re

from addons.openai.http.members import Member, last, members
from addons.openai.http.parsed_events import ParsedEvents
from addons.openai.http.sse import data_of, is_whole

LONGEST_EVENT = 2**20
"""Bytes of an incomplete event that are held; a longer event is passed on as it comes."""

LONGEST_USUAL = 2**14
"""Bytes of an event that is judged by its looks."""

END_OF_LINE = re.compile(rb"\r\n|\n|\r")
BOM = b"\xef\xbb\xbf"
USUAL = re.compile(rb',"usage":null((?:,"obfuscation":"[^"\\\r\n]*")?\}(?:\n\n?|\r\n(?:\r\n)?))\Z')
"""It says how nearly every event of OpenAI's ends. What stands before the last brace belongs to the outermost
object, and in a text the quotes would be escaped, so nothing else can look like this."""
CHUNKS = ("chat.completion.chunk", "text_completion")
CONTENT = ("error", "moderation", "prompt_filter_results", "prompt_annotations", "content_filter_results")
"""It is what a server may tell in a chunk without choices: such a chunk loses its usage only."""


class UsageCutter:
    """Takes bytes of an event stream in pieces of any size; gives the bytes that the client gets.

    What it parses to see where an event ends is kept in `parsed` for those who read the stream after it.
    """

    def __init__(self, parsed: ParsedEvents | None = None) -> None:
        self._parsed = parsed
        self.held = bytearray()
        """The event that is not complete yet."""
        self._line_at = 0
        """It says where its last line begins."""
        self._data_lines = 0
        """It says how many complete lines of data it has."""
        self._in_line = False
        """It tells whether the line that is not complete yet has any bytes."""
        self._after_cr = False
        """The last byte was a CR, which an LF may still follow as part of the same line end."""
        self._cut_last = False
        """It tells whether the last complete event was cut out whole: the blank line after it goes too."""
        self._passing = False
        """The rest of this event is not held: it is too long."""

    def feed(self, data: bytes) -> bytes:
        """Give what the client gets of `data` and of what was held before."""
        if self._is_next_event(data):
            passed = without_usage(data)
            self._cut_last = not passed
            return passed
        out = bytearray()
        at = 0
        if self._after_cr and data[:1] == b"\n":
            at = 1
            if self.held:
                self.held += b"\n"
                self._line_at = len(self.held)
            elif not self._cut_last:
                out += b"\n"
        self._after_cr = self._after_cr and not data
        for end in END_OF_LINE.finditer(data, at):
            blank = not self._in_line and end.start() == at
            line, at = data[at : end.end()], end.end()
            self._line(line, blank, data[at : at + 1] in (b"\n", b"\r"), out)
            self._in_line = False
        rest = data[at:]
        if rest:
            self._in_line = True
            (out if self._passing else self.held).extend(rest)
        elif data:
            self._after_cr = data.endswith(b"\r")
        if len(self.held) > LONGEST_EVENT:
            self._passing = True
            out += self._release()
        return bytes(out)

    def _is_next_event(self, data: bytes) -> bool:
        """Tell whether `data` is one event of one line, as most are that come by themselves."""
        return (
            data.startswith(b"data:")
            and data.find(b"\n") == len(data) - 2
            and data.endswith(b"\n\n")
            and b"\r" not in data
            and len(data) <= LONGEST_EVENT
            and not (self.held or self._in_line or self._passing or self._after_cr)
        )

    def finish(self) -> bytes:
        """Give what is left at the end of the stream."""
        self._passing = self._passing or bool(self.held)
        return without_usage(self._release())

    def _line(self, line: bytes, blank: bool, before_blank: bool, out: bytearray) -> None:
        """Take the (rest of the) next line, with its end.

        `before_blank`: the line after it is known to be blank: nothing must be read to see the end.
        """
        if self._passing:
            out += line
            self._passing, self._cut_last = not blank, False
            return
        if blank and self._cut_last and not self.held:
            return
        self.held += line
        if self.held.startswith(b":"):
            # A comment before the event, which keeps the connection alive: it is of use at once.
            self._cut_last = False
            out += self._release()
        elif blank or (not before_blank and self._is_whole_event()):
            passed = without_usage(self._release())
            self._cut_last = not passed
            out += passed
        else:
            self._line_at = len(self.held)

    def _is_whole_event(self) -> bool:
        """Tell whether the line just taken ends the event, by the rule of all readers of streams here."""
        line = bytes(self.held[self._line_at :])
        if not self._line_at:
            line = line.removeprefix(BOM)
        if not line.startswith(b"data:"):
            return False
        self._data_lines += 1
        return self._data_lines == 1 and is_whole(data_of(line[5:]), self._parsed)

    def _release(self) -> bytes:
        event = bytes(self.held)
        self.held.clear()
        self._line_at = self._data_lines = 0
        return event


def without_usage(event: bytes) -> bytes:
    """Give one event, all its lines, as it would be had nobody asked for usage; empty if it would not be.

    >>> without_usage(b'data: {"choices":[{"index":0}],"usage":null}\\n\\n')
    b'data: {"choices":[{"index":0}]}\\n\\n'
    >>> without_usage(b'data: {"choices":[],"usage":{"total_tokens":3}}\\n\\n')
    b''
    """
    if b'"usage"' not in event:
        return event
    if (usual := USUAL.search(event)) and _is_usual(event):
        return event[: usual.start()] + usual[1]
    return _without_usage(event)


def _is_usual(event: bytes) -> bool:
    """Tell whether this is one line of data, with choices, one mention of usage, and a usual length."""
    try:
        event.decode()
    except UnicodeDecodeError:
        return False
    return (
        len(event) < LONGEST_USUAL
        and event.startswith(b'data: {"')
        and not END_OF_LINE.search(event.rstrip(b"\r\n"))
        and event.count(b'"usage"') == 1
        and b'"choices":[' in event
    )


def _without_usage(event: bytes) -> bytes:
    lines = _data(event)
    try:
        text = b"\n".join(event[start:end] for start, end in lines).decode("utf-8")
        found = members(text)
    except (ValueError, RecursionError):
        return event
    value = {member.key: member.value for member in found}
    usage, choices = last(found, "usage"), value.get("choices")
    # The chunk that ends an audio answer has no choices at all.
    if usage is None or not (isinstance(choices, list) or value.get("object") in CHUNKS):
        return event
    if isinstance(usage.value, dict):
        if choices != []:
            return event  # not what OpenAI does: the server may have put it there unasked
        if not any(value.get(key) for key in CONTENT):
            return b""
    elif usage.value is not None:
        return event
    if len(lines) != 1:
        return event  # places in `text` are not places in the event; no known server does this
    start, end = _span(found, usage)
    base = lines[0][0]
    return event[: base + _bytes(text, start)] + event[base + _bytes(text, end) :]


def _data(event: bytes) -> list[tuple[int, int]]:
    """Find where the values of the `data` fields begin and end."""
    found = []
    at = len(BOM) if event.startswith(BOM) else 0
    for line in event[at:].splitlines(keepends=True):
        if line.startswith(b"data:"):
            begin = 6 if line[5:6] == b" " else 5
            found.append((at + begin, at + max(begin, len(line.rstrip(b"\r\n")))))
        at += len(line)
    return found


def _span(found: list[Member], member: Member) -> tuple[int, int]:
    """Find where `member` stands, with the comma that is no longer due without it."""
    index = found.index(member)
    if index:
        return found[index - 1].end, member.end
    return member.start, found[1].start if len(found) > 1 else member.end


def _bytes(text: str, at: int) -> int:
    return at if text.isascii() else len(text[:at].encode())

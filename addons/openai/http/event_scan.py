"""Read an event stream of any length as it comes, in bounded memory: only deltas of text are dropped."""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Any

import msgspec

from addons.openai.http.json_scan import JsonScan
from addons.openai.http.sse import DONE, TWICE, is_whole

LONGEST_LINE = 2**18
"""Bytes of a line that are held; of a longer one the data is scanned."""

LAST = 100
"""Events that are kept in any case, from the end."""
EVENT_COST = 64
"""It is what an event takes beside its bytes: a stream may be made of millions of empty ones."""
_VALUES = {
    b"text": rb'"[^"\\\n]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\n]*+)*+"',
    b"number": rb"-?(?:0|[1-9]\d*+)(?:\.\d++)?+",
    # A blank line, or (from servers that part their events by one line end) the next event.
    b"end": rb"\n(?:\n|(?=data: |event: ))",
    b"key": rb'"(?!(?:type|choices|usage|error|response|timings|delta|finish_reason|tool_calls|function_call)'
    rb'")[\w.-]++"',
}
_VALUES[b"member"] = rb'(?:%(key)b: ?(?:%(text)b|%(number)b|null|\[\]|true|false)|"usage": ?null)' % _VALUES
_VALUES[b"said"] = (
    rb"(?:%(member)b(?:, ?%(member)b)*+"
    rb'|"tool_calls": ?\[\{"index": ?\d+, ?"function": ?\{"arguments": ?%(text)b\}\}\])'
) % _VALUES
_CHAT_DELTA = (
    rb'data: \{(?:%(member)b, ?)*+"choices": ?\[\{(?:%(member)b, ?)*+"delta": ?\{(?:%(said)b)?\}'
    rb'(?:, ?(?:%(member)b|"finish_reason": ?null))*+\}\](?:, ?%(member)b)*+\}%(end)b'
)
_TYPED_DELTA = (
    rb'(?:event: (?!message\n)[\w.]++\n)?data: \{(?:%(member)b, ?)*+"type": ?"[\w.]+\.delta"'
    rb'(?:, ?(?:%(member)b|"delta": ?%(text)b))*+\}%(end)b'
)
PLAIN_DELTAS = tuple(re.compile(rb"(?:%b)++" % (form % _VALUES)) for form in (_CHAT_DELTA, _TYPED_DELTA))
"""Runs of the commonest pieces of text. Only a short cut: of none of them does :func:`_says_more` say yes, so
what is kept does not depend on it."""
BESIDE_NAME = len(b"event: \n")
BESIDE_DATA = len(b"data: \n")
FEW, MANY = 4, 32
"""Events that were no plain deltas: after a few of them, only every so often another is tried."""
EVENT = re.compile(rb"(?:event: ?([^\n]*+)\n)?data: ?([^\n]*+)\n(?:(\n)|(?=data:|event:))")
"""An event of one line of data, with a name or without; then, as a group, the blank line after it, if any."""
FIELDS = (b"data:", b"event:")
Event = tuple[str, dict[str, Any]]
"""The name of an event, ``message`` where it has none, and its data."""


class _Named(msgspec.Struct):
    name: Any = None


class _Call(msgspec.Struct):
    id: Any = None
    function: _Named | None = None
    custom: _Named | None = None


class _Delta(msgspec.Struct):
    tool_calls: list[_Call] | None = None
    function_call: msgspec.Raw = msgspec.Raw()
    role: Any = None


class _Choice(msgspec.Struct):
    finish_reason: Any = None
    usage: Any = None
    error: Any = None
    delta: _Delta | None = None


class _Head(msgspec.Struct):
    """Holds what decides whether an event is more than a piece of text."""

    type: Any = None
    object: Any = None
    usage: Any = None
    error: Any = None
    choices: list[_Choice] | None = None
    response: msgspec.Raw = msgspec.Raw()
    timings: Any = None


_head = msgspec.json.Decoder(_Head).decode
_loads = msgspec.json.Decoder().decode
_valid = msgspec.json.Decoder(msgspec.Raw).decode


class EventScan:
    """Takes bytes in pieces of any size; gives the events, without deltas of text beyond what may be kept."""

    def __init__(self, keep: int) -> None:
        self.events: list[Event] = []
        self.dropped = 0
        """Bytes of events that are left out, and of texts within others."""
        self.unparsed = 0
        self.done = False
        self._keep = keep
        self._room = keep
        self._rest = b""
        self._name = "message"
        self._data: list[bytes] = []
        self._long: JsonScan | None = None
        self._after_cr = False
        self._misses = 0
        self._last: deque[tuple[str, bytes]] = deque(maxlen=LAST)

    def feed(self, data: bytes) -> None:
        """Take more of the stream. Never raises for what is in it."""
        if b"\r" in data or self._after_cr:
            if self._after_cr:
                data = data.removeprefix(b"\n")
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        whole, end, rest = (self._rest + data).rpartition(b"\n")
        if end:
            self._take_lines(whole + end)
        if self._long is not None:
            self._long.feed(rest)
            rest = b""
        elif len(rest) > LONGEST_LINE and rest.startswith(b"data:"):
            self._long = JsonScan(max(self._room, self._keep // 4))
            self._long.feed(rest[5:])
            rest = b""
        self._rest = rest

    def finish(self) -> None:
        """Take the end of the stream for the end of its last event."""
        rest, self._rest = self._rest, b""
        self._take_line(rest)
        self._take_line(b"")
        while self._last:
            self._parse(*self._last.popleft())

    def _take_lines(self, lines: bytes) -> None:
        """Take whole lines."""
        at = 0
        while at < len(lines):
            if self._data and lines.startswith(FIELDS, at):
                self._part(self._data)  # left open by the end of a piece
            if not self._data and self._name == "message" and self._long is None:
                at = self._take_events(lines, at)
            end = lines.find(b"\n", at)
            if end < 0:
                return
            self._take_line(lines[at:end])
            at = end + 1

    def _take_events(self, lines: bytes, at: int) -> int:
        """Take the events of one line of data that begin at a place, and give the place after them.

        Runs of plain deltas, once nothing is kept of them, are taken at once.
        """
        while True:
            if self._room <= 0 and (self._misses < FEW or self._misses % MANY == 0):
                at = self._drop_run(lines, at)
            event = EVENT.match(lines, at)
            if event is None or not (event[3] or _is_json(event[2])):
                return at
            self._misses += 1
            self._end_event(_name_of(event[1] or b""), event[2].removeprefix(TWICE.encode()))
            at = event.end()

    def _drop_run(self, lines: bytes, at: int) -> int:
        """Leave out the run of plain deltas that begins at a place, if any; give the place after it."""
        for form in PLAIN_DELTAS:
            if found := form.match(lines, at):
                end = found.end()
                events = lines.count(b"\ndata: ", at, end) + lines.startswith(b"data: ", at)
                self.dropped += end - at - BESIDE_DATA * events - lines.count(b"\n\n", at, end)
                self._misses, at = 0, end
        return at

    def _take_line(self, line: bytes) -> None:
        if self._long is not None:
            self._long.feed(line)
            self._end_long(self._long)
        elif line.startswith(b"data:"):
            if self._data:
                self._part(self._data)
            self._data.append(line[5:].removeprefix(b" ").removeprefix(TWICE.encode()))
        elif not line:
            self._dispatch()
        elif line.startswith(b"event:"):
            if self._data:
                self._part(self._data)
            self._name = _name_of(line[6:])

    def _part(self, data: list[bytes]) -> None:
        """End an event where the next begins after one line end; else its data has several lines."""
        if len(data) == 1 and _is_json(data[0]):
            self._dispatch()

    def _dispatch(self) -> None:
        data, name = b"\n".join(self._data), self._name
        self._data, self._name = [], "message"
        self._end_event(name, data)

    def _end_event(self, name: str, data: bytes) -> None:
        if not data:
            return
        if data.strip() == DONE.encode():
            self.done = True
        elif self._room > 0 or _says_more(data):
            self._append(name, data)
        else:
            self.dropped += len(data) + (0 if name == "message" else BESIDE_NAME + len(name))

    def _append(self, name: str, data: bytes) -> None:
        self._room -= len(data) + EVENT_COST
        if self._room < -self._keep:  # more than any answer has beside its text: a usage with every piece
            if len(self._last) == LAST:
                self.dropped += len(self._last[0][1])
            self._last.append((name, data))
        else:
            self._parse(name, data)

    def _parse(self, name: str, data: bytes) -> None:
        value: Any
        try:
            value = _loads(data)
        except (msgspec.MsgspecError, RecursionError):
            try:
                value = json.loads(data.decode("utf-8", "replace"), strict=False)
            except (ValueError, RecursionError):
                value = None
        if isinstance(value, dict):
            self.events.append((name, value))
        else:
            self.unparsed += 1

    def _end_long(self, scan: JsonScan) -> None:
        self._long = None
        self.dropped += scan.dropped
        if isinstance(scan.value, dict):
            self.events.append((self._name, scan.value))
        else:
            self.unparsed += 1
        self._name = "message"


def _name_of(written: bytes) -> str:
    return written.strip().decode("utf-8", "replace") or "message"


def _is_json(data: bytes) -> bool:
    """Tell whether a line of data is an event by itself; as :func:`is_whole`, faster where it can be."""
    if data[:1] == b"{" and data[-1:] == b"}":
        try:
            _valid(data)
            return True
        except msgspec.MsgspecError:
            pass  # what it refuses, JSON of other readers may still be
    return is_whole(data.decode("utf-8", "replace"))


def _says_more(data: bytes) -> bool:
    """Tell whether an event is more than text: a usage, an error, an end, an item, a call of a tool."""
    if b'"usage":{' in data or b'"usage": {' in data:
        return True
    try:
        head = _head(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    kind = head.type if isinstance(head.type, str) else head.object if isinstance(head.object, str) else ""
    if head.usage or head.error or head.timings or bytes(head.response):
        return True
    if head.choices is not None:
        return any(
            choice.finish_reason
            or choice.usage
            or choice.error
            or (choice.delta and (_begins_call(choice.delta) or bytes(choice.delta.function_call)))
            for choice in head.choices
        )
    return bool(kind) and not kind.endswith((".delta", ".partial_image"))


def _begins_call(delta: _Delta) -> bool:
    """Tell whether a piece of a tool's call says which: then it is more than a part of the arguments."""
    return any(
        call.id or (call.function and call.function.name) or (call.custom and call.custom.name)
        for call in delta.tool_calls or ()
    )

"""Read a JSON text of any length as it comes, in bounded memory: its structure stays, long texts are cut.

For answers that are longer than what is kept of them. All members and items stand in their places, so that an
answer's own ``model`` or ``usage`` is never taken for one within its metadata. What is nested deeper than
MAX_DEPTH, and what follows MOST_VALUES, is passed over at the speed of :mod:`re` and :class:`bytes`.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 12
MOST_VALUES = 20_000
"""Values that are kept; beyond them containers below the second level are passed over: lists of numbers."""
MOST_ITEMS = 50_000
"""Values beyond which those of the second level are passed over as well: no answer has so many items."""
SHALLOW = 2
LONGEST_LITERAL = 400
BLOCK, LEAST_BLOCK = 2**18, 2**8
"""Bytes passed over at a time."""

_TOKEN = re.compile(rb'[ \t\r\n]*([{}\[\],:"]|[^ \t\r\n{}\[\],:"]+)')
_CLOSED = re.compile(rb'"[^"]*"|[{}\[\]]')
_CUT_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"{}[]")

Container = dict[str, Any] | list[Any]


class CutText(str):
    """Holds the beginning of a text; `length` is that of all of it, in bytes as written."""

    __slots__ = ("length",)
    length: int


class JsonScan:
    """Takes bytes in pieces of any size; gives the value, with texts cut that exceed what may be kept."""

    def __init__(self, keep: int) -> None:
        self.dropped = 0
        """Bytes that are not in the value."""
        self.whole = False
        """It tells whether the value has ended."""
        self.broken = False
        """It tells whether this is no JSON."""
        self._room = keep
        self._longest = max(keep // 4, 1)
        self._value: Any = None
        self._stack: list[Container] = []
        self._keys: list[str] = []
        self._key: str | None = None
        self._values = 0
        self._rest = b""
        self._string: list[bytes] | None = None
        self._string_size = 0
        self._string_kept = 0
        self._odd = False
        """It tells whether the last byte was the first half of an escape."""
        self._skipped_depth = 0
        self._skipped_string = False
        self._closes_top = False
        self._block = BLOCK

    @property
    def value(self) -> Any:
        """Give what has come so far."""
        return self._value

    def feed(self, data: bytes) -> None:
        """Take more of the text. Never raises for what is in it."""
        data, at = self._rest + data, 0
        self._rest = b""
        # The same length, without the quotes that are part of a text: outside of texts there is no backslash.
        plain = (
            data.replace(b"\\\\", b"__").replace(b'\\"', b"__")
            if not self._odd
            else self._plain_after_half(data)
        )
        while at < len(data) and not (self.whole or self.broken):
            if self._string is not None:
                at = self._take_string(data, plain, at)
            elif self._skipped_depth:
                at = self._skip(plain, at)
            else:
                at = self._take_token(data, at)
        self._odd = plain.endswith(b"\\") and (self._string is not None or self._skipped_string)

    def _plain_after_half(self, data: bytes) -> bytes:
        """Make plain a block whose first byte is the second half of an escape."""
        return b"_" + data[1:].replace(b"\\\\", b"__").replace(b'\\"', b"__")

    # --- structure

    def _take_token(self, data: bytes, at: int) -> int:
        match = _TOKEN.match(data, at)
        if match is None:
            return len(data)  # white space
        token = match[1]
        if token == b'"':
            self._string, self._string_size, self._string_kept = [], 0, 0
        elif token in b"{[":
            self._open(token)
        elif token in b"}]":
            self._close()
        elif token == b",":
            self._end_member()
            self._key = None
        elif token != b":":
            if match.end() == len(data) and len(token) < LONGEST_LITERAL:
                self._rest = token  # a number may go on
                return len(data)
            self._take_literal(token)
        return match.end()

    def _open(self, token: bytes) -> None:
        depth = len(self._stack)
        deep = SHALLOW if self._values > MOST_ITEMS else SHALLOW + 1
        if depth >= MAX_DEPTH or (self._values > MOST_VALUES and depth >= deep):
            self._place(None)
            # The rest of what holds it is more of the same.
            full = depth < MAX_DEPTH
            self._begin_skip(2 if full else 1, closes_top=full)
            return
        container: Container = {} if token == b"{" else []
        self._place(container)
        self._stack.append(container)
        self._keys.append(self._key or "")
        self._key = None

    def _close(self) -> None:
        self._end_member()
        if not self._stack or self.broken:
            self.broken = True
            return
        self._stack.pop()
        self._key = self._keys.pop() or None
        self.whole = not self._stack

    def _end_member(self) -> None:
        """See that a name has got its value."""
        if self._key is not None and self._stack and self._key not in self._stack[-1]:
            self.broken = True

    def _take_literal(self, token: bytes) -> None:
        try:
            value = json.loads(token)
        except ValueError:
            self.broken = True
            return
        self._place(value)
        self.whole = not self._stack

    def _place(self, value: Any) -> None:
        self._values += 1
        if not self._stack:
            self._value = value
            return
        top = self._stack[-1]
        if isinstance(top, list):
            top.append(value)
            if (
                self._values > MOST_VALUES
                and len(self._stack) > SHALLOW
                and not isinstance(value, dict | list)
            ):
                self._begin_skip(1, closes_top=True)
        elif self._key is not None:
            top[self._key] = value
        else:
            self.broken = True

    # --- texts

    def _take_string(self, data: bytes, plain: bytes, start: int) -> int:
        quote = plain.find(b'"', start)
        if quote < 0:
            self._keep(data[start:])
            return len(data)
        self._keep(data[start:quote])
        self._end_string()
        return quote + 1

    def _keep(self, piece: bytes) -> None:
        assert self._string is not None
        self._string_size += len(piece)
        # A short text is always kept: names, ids, states.
        room = max(min(self._room, self._longest), 256) - self._string_kept
        if room > 0:
            self._string.append(piece[:room])
            self._string_kept += min(room, len(piece))

    def _end_string(self) -> None:
        raw, size = b"".join(self._string or ()), self._string_size
        self._string = None
        if isinstance(self._stack[-1] if self._stack else None, dict) and self._key is None:
            self._key = _text(raw)
            return
        self._room -= len(raw)
        if size == len(raw):
            self._place(_text(raw))
        else:
            self.dropped += size - len(raw)
            half = _CUT_ESCAPE.search(raw.replace(b"\\\\", b"__"))
            whole = raw[: half.start()] if half else raw
            text = CutText(_text(whole.decode("utf-8", "ignore").encode()))
            text.length = size
            self._place(text)
        self.whole = not self._stack

    # --- what is passed over

    def _skip(self, plain: bytes, at: int) -> int:
        block = plain[at : at + self._block]
        parts = block.split(b'"')
        brackets = b"".join(parts[1 if self._skipped_string else 0 :: 2]).translate(None, _NOT_BRACKETS)
        before = None
        while before != len(brackets):
            before = len(brackets)
            brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
        closes = brackets.count(b"}") + brackets.count(b"]")
        if closes >= self._skipped_depth:
            if len(block) <= LEAST_BLOCK:
                return at + self._skip_to_end(block)
            self._block = len(block) // 2  # it ends within: look for the half in which it does
            return at
        self._block = min(2 * self._block, BLOCK)
        self._skipped_depth += len(brackets) - 2 * closes
        self._skipped_string ^= len(parts) % 2 == 0
        self.dropped += len(block)
        return at + len(block)

    def _begin_skip(self, depth: int, *, closes_top: bool) -> None:
        self._skipped_depth, self._skipped_string, self._closes_top = depth, False, closes_top
        self._block = 2**12

    def _skip_to_end(self, block: bytes) -> int:
        """Find where in `block` ends what is passed over."""
        start = 0
        if self._skipped_string:
            start = block.find(b'"') + 1
        self._skipped_string = False
        for match in _CLOSED.finditer(block, start):
            if match[0] in (b"{", b"["):
                self._skipped_depth += 1
            elif match[0] in (b"}", b"]"):
                self._skipped_depth -= 1
                if not self._skipped_depth:
                    self.dropped += match.end()
                    if self._closes_top:
                        self._close()
                    return match.end()
        self.broken = True
        return len(block)


def _text(raw: bytes) -> str:
    """Give what a text says, also where a byte or an escape of it is broken."""
    written = raw.decode("utf-8", "replace")
    if "\\" not in written:
        return written
    try:
        return str(json.loads(f'"{written}"', strict=False))
    except ValueError:
        return written

"""A bounded copy of a body that passes by.

The client gets every byte at once; the copy is for the recorder. Up to the limit all is kept, as it came,
still content-coded. Beyond it the first and the last half of the limit are kept, decoded, because usage
stands at the end of a body, and the end of a coded body cannot be read without what came before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from addons.openai.encoding import Decoder, codings_of

logger = logging.getLogger(__name__)

DECODE_BUDGET = 256 * 2**20
"""Decoded bytes of one over-long body after which decoding stops: a bomb must not hold up the loop."""


@dataclass(slots=True)
class Body:
    """What a capture kept."""

    data: bytes
    """The body as on the wire; or, when something was skipped, its decoded head."""
    decoded: bool = False
    """Whether `data` and `tail` are decoded already."""
    skipped: int = 0
    """Decoded bytes between `data` and `tail` that were not kept."""
    tail: bytes = b""
    size: int = 0
    """Bytes on the wire."""
    chunks: list[bytes] = field(default_factory=list)
    """The wire chunks that make up `data`, while nothing was skipped."""
    times: list[float] = field(default_factory=list)
    """When each of `chunks` came, in seconds of the monotonic clock."""


class Capture:
    """Collects one body. `tap` is what mitmproxy calls with each chunk."""

    def __init__(self, content_encoding: str, limit: int) -> None:
        self._codings: Sequence[str] = codings_of(content_encoding)
        self._limit = limit
        self._chunks: list[bytes] = []
        self._times: list[float] = []
        self._size = 0
        self._window: Window | None = None
        self._broken = False
        self.first_byte_at: float | None = None
        self.last_byte_at: float | None = None

    def tap(self, data: bytes) -> bytes:
        """Pass `data` on, whatever happens to the copy.

        Must not raise, and must return what it was given: mitmproxy would stop the client's stream.
        """
        if data and not self._broken:
            try:
                self._keep(data)
            except Exception:
                self._broken = True
                logger.exception("llmproxy: a body's copy broke; the client's stream goes on")
        return data

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        now = self.last_byte_at = time.monotonic()
        if self.first_byte_at is None:
            self.first_byte_at = now
        if self._window is not None:
            self._window.feed(data)
            return
        self._chunks.append(data)
        self._times.append(now)
        if self._size > self._limit:
            self._window = Window(self._codings, self._limit)
            for chunk in self._chunks:
                self._window.feed(chunk)
            self._chunks.clear()
            self._times.clear()

    def body(self) -> Body:
        """What was kept so far."""
        if self._window is None:
            return Body(b"".join(self._chunks), size=self._size, chunks=self._chunks, times=self._times)
        head, skipped, tail = self._window.parts()
        return Body(head, decoded=True, skipped=skipped, tail=tail, size=self._size)


class Window:
    """The first and the last bytes of a body, decoded as it comes."""

    def __init__(self, codings: Sequence[str], limit: int) -> None:
        self._decoder = Decoder(codings, budget=DECODE_BUDGET)
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._skipped = 0

    def feed(self, data: bytes) -> None:
        decoded = self._decoder.feed(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += decoded[:room]
            decoded = decoded[room:]
        self._tail += decoded
        # Trimmed only now and then, so that the cost per byte stays constant.
        if len(self._tail) > 2 * self._half:
            self._trim()

    def _trim(self) -> None:
        surplus = len(self._tail) - self._half
        if surplus > 0:
            del self._tail[:surplus]
            self._skipped += surplus

    def parts(self) -> tuple[bytes, int, bytes]:
        self._trim()
        if self._skipped == 0:  # the two halves touch
            return bytes(self._head + self._tail), 0, b""
        return bytes(self._head), self._skipped, bytes(self._tail)

"""A bounded copy of a body that passes by.

The client gets every byte at once; the copy is for the recorder. Up to the limit all is kept, as it came,
still content-coded. Beyond it the first and the last half of the limit are kept, decoded, because usage
stands at the end of a body, and the end of a coded body cannot be read without what came before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from addons.openai.encoding import codings_of
from addons.openai.window import Window

logger = logging.getLogger(__name__)

Watcher = Callable[[bytes], object]
"""Gets each chunk as it passes, on the event loop; may raise, and is not called again then."""

DECODE_BUDGET = 256 * 2**20
"""Decoded bytes of one over-long body after which decoding stops."""


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
    undecoded: str | None = None
    """Why decoding stopped before the end; None where it did not, or has not begun."""
    size: int = 0
    """Bytes on the wire."""
    chunks: list[bytes] = field(default_factory=list)
    """The wire chunks that make up `data`, while nothing was skipped."""
    times: list[float] = field(default_factory=list)
    """When each of `chunks` came, in seconds of the monotonic clock."""
    window: Window | None = None
    """What is still to be decoded of an over-long body."""

    def settle(self) -> None:
        """Decode what is left of an over-long body; takes up to a second, so never on the event loop."""
        if self.window is None:
            return
        self.window.finish()
        self.data, self.skipped, self.tail = self.window.parts()
        self.undecoded = self.window.error
        self.window = None


class Capture:
    """Collects one body. `tap` is what mitmproxy calls with each chunk."""

    def __init__(self, content_encoding: str, limit: int, watchers: Sequence[Watcher] = ()) -> None:
        self._codings: Sequence[str] = codings_of(content_encoding)
        self._limit = limit
        self._watchers = list(watchers)
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
        for watcher in list(self._watchers) if data else ():
            try:
                watcher(data)
            except Exception:
                self._watchers.remove(watcher)
                logger.exception("llmproxy: a body is not watched any more; the client's stream goes on")
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
            # Decoded here and there as more comes, never all at once: this is the event loop.
            self._window = Window(self._codings, self._limit, budget=DECODE_BUDGET)
            self._window.feed(b"".join(self._chunks))
            self._chunks.clear()
            self._times.clear()

    def body(self) -> Body:
        """What was kept so far. An over-long body is still to be settled, away from the event loop."""
        if self._window is None:
            return Body(b"".join(self._chunks), size=self._size, chunks=self._chunks, times=self._times)
        return Body(b"", decoded=True, size=self._size, window=self._window)

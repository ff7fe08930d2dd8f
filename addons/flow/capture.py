"""Keep a bounded copy of a body that passes by.

The client gets every byte at once; the copy is for the recorder. Up to the limit all is kept, as it came,
still content-coded. Beyond it the first and the last half of the limit are kept, decoded, because usage
stands at the end of a body, and the end of a coded body cannot be read without what came before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from addons.openai.http.encoding import codings_of
from addons.openai.http.parsed_events import ParsedEvents
from addons.openai.http.scan import Scanned
from addons.openai.http.window import Window

logger = logging.getLogger(__name__)

Watcher = Callable[[bytes], object]
"""Gets each chunk as it passes, on the event loop; may raise, and is not called again then."""

DECODE_BUDGET = 256 * 2**20
"""Decoded bytes of one over-long body after which decoding stops."""


MOST_WAITING = 64 * 2**20
"""Bytes of one over-long body that may wait to be read."""
_READING = ThreadPoolExecutor(1, "llmproxy-bodies")
"""Reads all over-long bodies, far faster than they come; one thread, so that pieces keep their order."""


@dataclass(slots=True)
class Body:
    """Holds what a capture kept."""

    data: bytes
    """The body as on the wire; or, when something was skipped, its decoded head."""
    decoded: bool = False
    """It tells whether `data` and `tail` are decoded already."""
    skipped: int = 0
    """Decoded bytes between `data` and `tail` that were not kept; of a scanned body those of its texts."""
    tail: bytes = b""
    undecoded: str | None = None
    """It says why decoding stopped before the end; None where it did not, or has not begun."""
    size: int = 0
    """Bytes on the wire."""
    chunks: list[bytes] = field(default_factory=list)
    """The wire chunks that make up `data`, while nothing was skipped."""
    times: list[float] = field(default_factory=list)
    """It says when each of `chunks` came, in seconds of the monotonic clock."""
    window: Window | None = None
    """It is what is still to be decoded of an over-long body."""
    pending: Future[None] | None = None
    """The last piece of it that is being read."""
    scanned: Scanned | None = None
    """It is what was understood of an over-long body."""
    parsed: ParsedEvents = field(default_factory=ParsedEvents)
    """Events that were read on their way."""

    def settle(self) -> None:
        """Decode what is left of an over-long body; takes up to a second, so never on the event loop."""
        if self.window is None:
            return
        if self.pending is not None:
            self.pending.result()
        self.window.finish()
        self.data, self.skipped, self.tail = self.window.parts()
        self.scanned = self.window.scanned()
        if self.scanned is not None:
            self.skipped = self.scanned.dropped
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
        self._pending: Future[None] | None = None
        self._waiting = 0
        self._behind = False
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
        if self._watchers and data:
            self._show(data)
        return data

    def _show(self, data: bytes) -> None:
        for watcher in list(self._watchers):
            try:
                watcher(data)
            except Exception:
                self._watchers.remove(watcher)
                logger.exception("llmproxy: a body is not watched any more; the client's stream goes on")

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        now = self.last_byte_at = time.monotonic()
        if self.first_byte_at is None:
            self.first_byte_at = now
        if self._window is not None:
            self._read(self._window, data)
            return
        self._chunks.append(data)
        self._times.append(now)
        if self._size > self._limit:
            self._window = Window(self._codings, self._limit, budget=DECODE_BUDGET)
            self._read(self._window, b"".join(self._chunks))
            self._chunks.clear()
            self._times.clear()

    def _read(self, window: Window, data: bytes) -> None:
        """Have a piece of an over-long body decoded and scanned, away from the event loop and in order."""
        if self._waiting > MOST_WAITING:
            self._behind = True
        if self._behind:
            return
        self._waiting += len(data)
        self._pending = _READING.submit(self._feed, window, data)

    def _feed(self, window: Window, data: bytes) -> None:
        window.feed(data)
        self._waiting -= len(data)

    def end(self, size: int) -> bytes:
        """Give at least the last `size` bytes as they came; none of a coded body or of one over the limit."""
        if self._codings or self._window is not None:
            return b""
        found: list[bytes] = []
        for chunk in reversed(self._chunks):
            found.append(chunk)
            size -= len(chunk)
            if size <= 0:
                break
        return b"".join(reversed(found))

    def body(self) -> Body:
        """Give what was kept so far. An over-long body is still to be settled, away from the event loop."""
        if self._window is None:
            return Body(b"".join(self._chunks), size=self._size, chunks=self._chunks, times=self._times)
        window = self._window
        if self._behind:
            self._pending = _READING.submit(window.give_up, "it came faster than it could be read")
        return Body(b"", decoded=True, size=self._size, window=window, pending=self._pending)

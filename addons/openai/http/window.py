"""Keep the two ends of a decoded body; and where it is longer than that, what a scan finds in it.

The end of a coded body can't be read without what comes before.
"""

from __future__ import annotations

from collections.abc import Sequence

from addons.openai.http.encoding import BUDGET, Decoder
from addons.openai.http.scan import Scan, Scanned

STEP = 4 * 2**20
"""Bytes decoded at a time: what is not kept of them is let go before the next."""

LEAST_WAITING = 2**20
"""Coded bytes that may wait to be decoded, at least."""


class Window:
    """Keeps the first and the last half of `limit` decoded bytes, in memory of about twice `limit`."""

    def __init__(self, codings: Sequence[str], limit: int, *, budget: int = BUDGET) -> None:
        self._decoder = Decoder(codings, budget=budget)
        self._half = limit // 2
        self._most_waiting = max(limit, LEAST_WAITING)
        self._head = bytearray()
        self._tail = bytearray()
        self._skipped = 0
        self._scan: Scan | None = None

    @property
    def error(self) -> str | None:
        """Give the reason why decoding stopped before the end; None while all is well."""
        return self._decoder.error

    def feed(self, data: bytes) -> None:
        """Take `data`, decode about STEP bytes, and leave the rest to the next call.

        So one call never takes long, whatever `data` stands for. The rest can't grow beyond what decoding
        costs anyway: a body that falls that far behind is a bomb, and is given up.
        """
        self._decoder.push(data)
        self._keep(self._decoder.pull(STEP))
        if self._decoder.waiting > self._most_waiting:
            self._decoder.give_up("the body expands faster than it can be decoded")

    def give_up(self, reason: str) -> None:
        """Decode no more of the body."""
        self._decoder.give_up(reason)

    def finish(self) -> None:
        """Decode what is left."""
        while not self._decoder.done:
            self._keep(self._decoder.pull(STEP))

    def _keep(self, decoded: bytes) -> None:
        if self._scan is not None:
            self._scan.feed(decoded)
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
            if self._scan is None:
                self._scan = Scan(bytes(self._head + self._tail), 2 * self._half)
            del self._tail[:surplus]
            self._skipped += surplus

    def scanned(self) -> Scanned | None:
        """Give what was understood of a body that is longer than what is kept; None of any other."""
        self._trim()
        return None if self._scan is None else self._scan.finish()

    def parts(self) -> tuple[bytes, int, bytes]:
        """Give the beginning, the number of bytes left out after it, and the end."""
        self._trim()
        if self._skipped == 0:  # the two halves touch
            return bytes(self._head + self._tail), 0, b""
        return bytes(self._head), self._skipped, bytes(self._tail)

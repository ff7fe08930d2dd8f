"""From the local spool to the stream: buffered, pipelined, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path

from store.bus.link import Id, Link, parse
from store.errors import SpoolBusy
from store.spool import Batch, SpoolReader
from store.spool.closing import Price

logger = logging.getLogger(__name__)

CONSUMER = "bus"
BATCH = 1000
MAX_AHEAD = 256 * 2**20
"""Bytes that are published and not acknowledged by every group: what Redis has to hold for this spool."""
IDLE_SECONDS = 0.1
SETTLE_SECONDS = 0.5
RECLAIM_SECONDS = 30.0
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
TELL_SECONDS = 60.0
CLOSE_SECONDS = 5.0


class Forwarder:
    """Publishes one spool, for as long as the process lives. Several on one spool take turns."""

    def __init__(self, spool: Path, link: Link, *, price: Price | None = None) -> None:
        self.published = 0
        self.acknowledged = 0
        """Records that every group has acknowledged; the local spool has let go of them."""
        self._spool = spool
        self._link = link
        self._price = price
        self._closing = threading.Event()
        self._ahead: deque[tuple[Id, Batch, int]] = deque()
        """What is published and not acknowledged: last id, batch, bytes."""
        self._ahead_bytes = 0
        self._offsets: dict[str, int] = {}
        """Where reading goes on."""
        self._server = ""
        self._told = 0.0
        self._thread = threading.Thread(target=self._run, name="llmproxy-bus", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Publish what is left, for some seconds at most; the rest stays in the spool for the next start."""
        self._closing.set()
        self._thread.join(CLOSE_SECONDS)
        self._link.close()

    def _run(self) -> None:
        failures = 0
        while True:
            try:
                with SpoolReader(self._spool, CONSUMER, price=self._price) as reader:
                    self._forget()
                    self._serve(reader)
                    return
            except SpoolBusy:
                failures = len(PAUSES)  # another proxy of this machine does it; look again later
            except OSError as error:
                failures += 1
                self._tell(error)
            except Exception:
                failures += 1
                logger.exception("llmproxy: the bus failed; trying again")
            if self._closing.wait(PAUSES[min(failures, len(PAUSES)) - 1]):
                return

    def _serve(self, reader: SpoolReader) -> None:
        settled = reclaimed = 0.0
        while True:
            closing = self._closing.is_set()  # asked first: what is there by now is still published
            now = time.monotonic()
            if now - settled > SETTLE_SECONDS or closing:
                settled = now
                with self._link.told():
                    self._settle(reader)
            if now - reclaimed > RECLAIM_SECONDS:
                reclaimed = now
                reader.reclaim()
            batch = self._next(reader)
            if batch or batch.offsets:
                with self._link.told():
                    self._publish(batch)
            elif closing:
                return
            else:
                self._closing.wait(IDLE_SECONDS)

    def _next(self, reader: SpoolReader) -> Batch:
        if self._ahead_bytes > MAX_AHEAD:
            return Batch()
        return reader.read(max_events=BATCH, after=self._offsets)

    def _publish(self, batch: Batch) -> None:
        pipeline = self._link.client.pipeline(transaction=False)
        for line in batch.lines:
            pipeline.xadd(self._link.stream, {"line": line})
        ids = pipeline.execute() if batch else []
        last = parse(ids[-1]) if ids else (self._ahead[-1][0] if self._ahead else (0, 0))
        size = sum(len(line) for line in batch.lines)
        self._ahead.append((last, batch, size))
        self._ahead_bytes += size
        self._offsets |= batch.offsets
        self.published += len(ids)

    def _settle(self, reader: SpoolReader) -> None:
        """Let go of what every group has acknowledged; begin anew where the server is another one."""
        server, bound = self._link.server(), self._link.done_before()
        if self._server not in ("", server) or self._link.server() != server:
            logger.warning("llmproxy: Redis was restarted; what is not acknowledged is published again")
            self._server = self._link.server()
            self._forget()
            return
        self._server = server
        while self._ahead and bound is not None and self._ahead[0][0] < bound:
            _, batch, size = self._ahead.popleft()
            reader.commit(batch)
            self._ahead_bytes -= size
            self.acknowledged += len(batch.records)
        if not self._ahead:
            self._offsets.clear()  # the cursor is there now, too
        if bound is not None:
            self._link.client.xtrim(self._link.stream, minid=f"{bound[0]}-{bound[1]}", approximate=True)

    def _forget(self) -> None:
        """Begin again behind what is committed."""
        self._ahead.clear()
        self._offsets.clear()
        self._ahead_bytes = 0

    def _tell(self, error: OSError) -> None:
        now = time.monotonic()
        if not self._told or now - self._told > TELL_SECONDS:
            self._told = now
            logger.warning(
                "llmproxy: bus %s: %s; events wait in the spool",
                error.filename or self._spool,
                error.strerror,
            )

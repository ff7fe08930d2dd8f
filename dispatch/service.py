"""The dispatcher: from the spool to a sink, at least once.

A batch is read, cut into requests, sent, and only then is the cursor moved. Whoever kills the dispatcher
between sending and moving causes at most this one batch to be sent again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from dispatch.delivery import Delivery, Totals
from dispatch.sinks import Sink
from store.spool import Batch, SpoolReader

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
RECLAIM_SECONDS = 30.0


class Dispatcher:
    """Drains one spool into one sink."""

    def __init__(
        self,
        reader: SpoolReader,
        sink: Sink,
        *,
        batch_size: int,
        follow: bool,
        stop: threading.Event | None = None,
        on_progress: Callable[[Totals, int], None] | None = None,
    ) -> None:
        """`stop`, once set, ends the work after the request that is on its way.

        `on_progress` gets the totals and the bytes that are left, after each batch and while idle.
        """
        self.totals = Totals()
        self._reader = reader
        self._sink = sink
        self._batch_size = batch_size
        self._follow = follow
        self._on_progress = on_progress
        self._stop = stop or threading.Event()
        self._delivery = Delivery(sink, self.totals, patient=follow, stop=self._stop)
        self._reclaimed = time.monotonic()

    def run(self) -> None:
        """Work until stopped; without `follow`, until the spool is drained.

        Raises GaveUp where the backend does not take a request: without `follow` after some tries, and at
        once where only a person can help. What was not taken stays in the spool.
        """
        while not self._stop.is_set():
            batch = self._reader.read(max_events=self._batch_size)
            if batch:
                self._deliver(batch)
            elif not self._follow:
                break
            if self._on_progress is not None:
                self._on_progress(self.totals, self._reader.backlog())
            if not batch:
                self._stop.wait(POLL_SECONDS)
            if time.monotonic() - self._reclaimed > RECLAIM_SECONDS:
                self._reclaim()
        self._reclaim()

    def _deliver(self, batch: Batch) -> None:
        plan = self._sink.plan(batch.records)
        refused = self._delivery.send(plan.parcels)
        if refused is None:
            return  # stopped: the whole batch comes again
        rejected = [*plan.rejected, *refused]
        for letter in rejected:
            record = letter.record
            batch.bury(record.line, record.segment, record.offset, letter.reason)
            logger.warning("put aside: %s (event %s)", letter.reason, record.value.get("event_id"))
        self._reader.commit(batch)
        self.totals.batches += 1
        self.totals.sent += len(batch.records) - len(rejected) - plan.skipped
        self.totals.dead += len(batch.dead)

    def _reclaim(self) -> None:
        self._reclaimed = time.monotonic()
        try:
            self._reader.reclaim()
        except OSError as error:
            logger.warning("segments that are done with could not be removed: %s", error)

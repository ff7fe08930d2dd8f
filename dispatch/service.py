"""Dispatch from the spool to a sink, at least once.

The states of one batch::

    read ────> put ────> confirm ────> cursor ──> (the next batch is read)
     ^         │ ^           │
     │         │ └─ again ───┤ throttled, down, cut off: after a pause, for ever (`--once`: some tries)
     │         │             └ refused for good: that event to the dead letters, the rest counts as taken
     └─ stop ──┘ nothing has moved: the same records come again

- *read*: complete lines from the cursor on. Nothing moves.
- *put*: the sink cuts the batch into requests, and sends them.
- *confirm*: the backend's answer names what it took. Without an answer nothing is known, so it is put again.
- *cursor*: first the dead letters, then the cursor are written and synced. Only now is the batch done with.

Whoever kills the dispatcher between put and cursor causes this one batch to be sent again, with the same
`event_id`s; whoever kills it between dead letters and cursor causes letters that are there twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from dispatch import sinks
from dispatch.delivery import Delivery, Totals
from dispatch.sinks import Plan, Rejected, Sink
from store.spool import Batch

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
RECLAIM_SECONDS = 30.0
BACKLOG_SECONDS = 0.5
"""Between two looks at how much is left."""


class Reader(Protocol):
    """Gives events from a spool, or a bus. Its methods raise OSError where that is out of order."""

    folder: Path
    """It is what an error message names."""

    def read(
        self, *, max_events: int = ..., max_bytes: int = ..., after: Mapping[str, int] | None = ...
    ) -> Batch: ...
    def commit(self, batch: Batch) -> None: ...
    def reclaim(self) -> int: ...
    def backlog(self) -> int: ...
    def close(self) -> None: ...


class Dispatcher:
    """Drains one spool into one sink."""

    def __init__(
        self,
        reader: Reader,
        sink: Sink,
        *,
        batch_size: int,
        follow: bool,
        stop: threading.Event | None = None,
        drain: threading.Event | None = None,
        totals: Totals | None = None,
    ) -> None:
        """Take `stop` and `drain`, which end the work.

        `stop`, once set, ends it after the requests on their way; `drain` when nothing is left.
        """
        self.totals = totals or Totals()
        self._reader = reader
        self._sink = sink
        self._batch_size = batch_size
        self._follow = follow
        self._stop = stop or threading.Event()
        self._drain = drain or threading.Event()
        self._delivery = Delivery(sink, self.totals, patient=follow, stop=self._stop)
        self._reclaimed = time.monotonic()
        self._looked = 0.0
        self._on_its_way: _OnItsWay | None = None

    def run(self) -> None:
        """Work until stopped; without `follow`, until the spool is drained.

        Raises GaveUp where the backend does not take a request: without `follow` after some tries, and at
        once where only a person can help. What was not taken stays in the spool. Raises OSError where the
        spool can't be read or the cursor can't be written.
        """
        self._reclaim()
        try:
            while not self._stop.is_set() and self._turn():
                if time.monotonic() - self._reclaimed > RECLAIM_SECONDS:
                    self._reclaim()
        finally:
            self._settle()
        self._reclaim()
        self._look(None)

    def _turn(self) -> bool:
        """Read a batch while the one before is on its way, and send it once that one is settled. False when
        there is no more to do."""
        before = self._on_its_way
        batch = self._reader.read(max_events=self._batch_size, after=before.batch.offsets if before else None)
        coming = _OnItsWay(batch, self._sink.plan(batch.records), self._delivery) if batch else None
        if not self._settle():
            return False  # stopped: what was read ahead comes again, too
        self.totals.oldest = _oldest(batch)
        self._look(batch)
        if coming is not None:
            self._on_its_way = coming
            coming.start()
        elif before is None:
            if self._drain.is_set() or not self._follow:
                return False
            self._stop.wait(POLL_SECONDS)
        return True

    def _settle(self) -> bool:
        """Wait for the backend, then move the cursor. False when told to stop before all was taken."""
        sent, self._on_its_way = self._on_its_way, None
        if sent is None:
            return True
        refused = sent.result()
        if refused is None:
            return False
        batch, plan = sent.batch, sent.plan
        rejected = [*plan.rejected, *refused]
        for letter in rejected:
            record = letter.record
            batch.bury(record.line, record.segment, record.offset, letter.reason)
            logger.warning("put aside: %s (event %s)", letter.reason, record.value.get("event_id"))
        self._reader.commit(batch)
        self.totals.batches += 1
        self.totals.sent += len(batch.records) - len(rejected) - plan.skipped
        self.totals.skipped += plan.skipped
        self.totals.dead += len(batch.dead)
        return True

    def _look(self, batch: Batch | None) -> None:
        """Note how much is left: now and then, and whenever there is nothing more to read."""
        now = time.monotonic()
        if not batch or now - self._looked > BACKLOG_SECONDS:
            self.totals.backlog = self._reader.backlog()
            self._looked = now
        if self._follow and isinstance(self._sink, sinks.Beating):
            self._sink.beat(self.totals.backlog)

    def _reclaim(self) -> None:
        self._reclaimed = time.monotonic()
        try:
            self._reader.reclaim()
        except OSError as error:
            logger.warning("the spool could not be tidied up: %s", error)


class _OnItsWay:
    """Sends a batch, in a thread of its own.

    The next one is read and shaped meanwhile, and is sent once this one is confirmed and the cursor has
    moved.
    """

    def __init__(self, batch: Batch, plan: Plan, delivery: Delivery) -> None:
        self.batch = batch
        self.plan = plan
        self._delivery = delivery
        self._refused: list[Rejected] | None = None
        self._error: BaseException | None = None
        # A daemon: a request that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._send, name="put", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def result(self) -> list[Rejected] | None:
        """Give what was refused for good, or None, as :meth:`Delivery.send` says. Raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._refused

    def _send(self) -> None:
        try:
            self._refused = self._delivery.send(self.plan.parcels)
        except BaseException as error:
            self._error = error


def _oldest(batch: Batch) -> float | None:
    """Give when the first event of a batch happened, in seconds since 1970; None where there is no event."""
    for record in batch.records[:1]:
        try:
            return datetime.fromisoformat(str(record.value.get("timestamp"))).timestamp()
        except ValueError:
            return None
    return None

"""The dispatcher: from the spool to a sink, at least once.

A batch is read, cut into requests, sent, and only then is the cursor moved. Whoever kills the dispatcher
between sending and moving causes at most this one batch to be sent again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dispatch.errors import DeliveryError, Misconfigured, Unavailable
from dispatch.sinks import Parcel, Rejected, Sink
from store.spool import Batch, SpoolReader

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
RECLAIM_SECONDS = 30.0
BASE_SECONDS = 0.5
LONGEST_SECONDS = 30.0
TRIES_ONCE = 6
"""Of one request, where the dispatcher is to end: about half a minute."""


class GaveUp(Exception):
    """The backend did not take a request, and the dispatcher is not to wait any longer."""


@dataclass(slots=True)
class Totals:
    """What was done since the start."""

    sent: int = 0
    dead: int = 0
    """Put aside, with the reason, because the backend will never take it."""
    requests: int = 0
    retries: int = 0
    batches: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


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
        rejected = list(plan.rejected)
        for parcel in plan.parcels:
            refused = self._send(parcel)
            if refused is None:
                return  # stopped: the whole batch comes again
            rejected += refused
        for letter in rejected:
            record = letter.record
            batch.bury(record.line, record.segment, record.offset, letter.reason)
            logger.warning("put aside: %s (event %s)", letter.reason, record.value.get("event_id"))
        self._reader.commit(batch)
        self.totals.batches += 1
        self.totals.sent += len(batch.records) - len(rejected)
        self.totals.dead += len(batch.dead)

    def _send(self, parcel: Parcel) -> list[Rejected] | None:
        """Deliver one request, as often as it takes; None when told to stop meanwhile."""
        tries = 0
        while True:
            tries += 1
            self.totals.requests += 1
            try:
                return self._sink.send(parcel)
            except DeliveryError as error:
                self.totals.retries += 1
                if not self._follow and (isinstance(error, Misconfigured) or tries >= TRIES_ONCE):
                    raise GaveUp(str(error)) from error
                seconds = _pause(tries, error)
                logger.warning("%s; trying again in %.1f s", error, seconds)
                if self._stop.wait(seconds):
                    return None

    def _reclaim(self) -> None:
        self._reclaimed = time.monotonic()
        try:
            self._reader.reclaim()
        except OSError as error:
            logger.warning("segments that are done with could not be removed: %s", error)


def _pause(tries: int, error: DeliveryError) -> float:
    """Seconds to wait: as the backend asks, else growing and scattered, so that many do not come at once."""
    if isinstance(error, Misconfigured):
        return LONGEST_SECONDS
    if isinstance(error, Unavailable) and error.retry_after is not None:
        return min(error.retry_after, LONGEST_SECONDS)
    longest = min(BASE_SECONDS * 2 ** (tries - 1), LONGEST_SECONDS)
    return random.uniform(longest / 2, longest)  # noqa: S311 - no secret

"""Count calls in the store whose events are on disk: from the worker to the ledger."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import NamedTuple

from addons.checks.history import History
from addons.recording.exchange import Exchange
from store.core.event import BaseRecord, BudgetRecord, Call, UsageEvent
from store.ledger import Finished, LedgerWorker
from store.ledger.catch_up import batches_after
from store.ledger.finished import finished_of
from store.spool.usage_checkpoint import UsageCheckpoint

logger = logging.getLogger(__name__)


class Recorded(NamedTuple):
    """Holds a call, and what was made of it."""

    exchange: Exchange
    event: Call
    line: bytes
    """The event as it is written, without its number."""


MOST_WAITING = 20_000
"""Records that wait in memory while the store is away; those that come then are read from the spool later."""


class Settling:
    """Works in the worker's thread. Nothing here waits for the store."""

    def __init__(self, ledger: LedgerWorker, mark: UsageCheckpoint, writer: str, history: History) -> None:
        self._ledger = ledger
        self._history = history
        self._mark = mark
        self._writer = writer
        self._lock = threading.Lock()
        self._last = 0
        """Number of the last call that is on disk."""
        self._handed = 0
        """Number of the last one that the ledger was given."""
        self._counted = 0
        """Number of the last one that is in the store."""
        self._behind = False
        """It tells whether the ledger is given no more until :meth:`catch_up` has read what it was not
        given."""

    @property
    def waiting(self) -> int:
        """Give the number of records on disk that the store has not taken in yet."""
        return self._last - self._counted

    def recorded(self, calls: Sequence[Recorded], last: int) -> None:
        """Note that the events of `calls` are on disk in this order, the last as `last`. Never raises."""
        first = last - len(calls) + 1
        with self._lock:
            self._last = last
            self._behind = self._behind or last - self._counted > MOST_WAITING
            if self._behind:
                return
        try:
            finished = [self._finished(call, first + place) for place, call in enumerate(calls)]
            for each, call in zip(finished, calls, strict=True):
                if isinstance(call.event, UsageEvent):
                    self._history.add(each, call.event.model_requested)
        except Exception:  # they are on disk, and are taken in from there after the next start
            logger.exception("llmproxy: %d calls are not counted in the store yet", len(calls))
            return
        self._handed = last
        self._ledger.finish(finished, self._writer).add_done_callback(partial(self._move, last))

    def catch_up(self, spool: Path) -> None:
        """Give the ledger what it was not given, if it is done with the rest. For one thread of its own.

        Raises StoreUnavailable where the ledger has ended, or OSError.
        """
        while self._behind and self._counted >= self._handed:
            before = self._handed
            for batch in batches_after(spool, self._writer, before, is_kept=self._ledger.keeps_calls):
                self._handed = batch[-1].seq
                self._ledger.finish(batch, self._writer).result()
                self._move(self._handed)
            with self._lock:
                self._behind = self._handed < self._last
            if self._handed == before:
                return

    def dropped(self, calls: Sequence[Recorded]) -> None:
        """Note that these calls were served, and will have no event."""
        self._ledger.finish([self._finished(call, 0) for call in calls], self._writer)

    def told(self, records: Sequence[BaseRecord]) -> None:
        """Note that these records are on disk: the ledger wants to know it of budget alerts."""
        if ids := [str(record.event_id) for record in records if isinstance(record, BudgetRecord)]:
            self._ledger.told(ids)

    def close(self) -> None:
        """Close after the ledger: the store has taken in what it could."""
        with self._lock:
            self._mark.close(whole=self._counted == self._last)

    def _move(self, number: int, counted: Future[None] | None = None) -> None:
        with self._lock:
            if counted is None or (not counted.cancelled() and counted.exception() is None):
                self._counted = number
                self._mark.move(number)

    def _finished(self, call: Recorded, number: int) -> Finished:
        return finished_of(call.event, seq=number, sent=call.exchange.sent, is_kept=self._ledger.keeps_calls)

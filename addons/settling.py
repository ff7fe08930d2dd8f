"""From the worker to the ledger: calls whose events are on disk are counted in the store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from addons.exchange import Exchange
from addons.policy.history import History
from store.event import BUDGET_TYPE, Event
from store.ledger import Clerk, Finished
from store.ledger.catch_up import batches_after
from store.ledger.finished import finished_of
from store.spool.rolled import RolledMark

logger = logging.getLogger(__name__)

Recorded = tuple[Exchange, Event]
"""A call, and the event that was made of it."""


MOST_WAITING = 20_000
"""Records that wait in memory while the store is away; those that come then are read from the spool later."""


class Settling:
    """For the worker's thread. Nothing here waits for the store."""

    def __init__(self, clerk: Clerk, mark: RolledMark, writer: str, history: History) -> None:
        self._clerk = clerk
        self._history = history
        self._mark = mark
        self._writer = writer
        self._lock = threading.Lock()
        self._last = 0
        """Number of the last call that is on disk."""
        self._handed = 0
        """Number of the last one that the clerk was given."""
        self._counted = 0
        """Number of the last one that is in the store."""
        self._behind = False
        """Whether the clerk is given no more until :meth:`catch_up` has read what it was not given."""

    @property
    def waiting(self) -> int:
        """Records on disk that the store has not taken in yet."""
        return self._last - self._counted

    def recorded(self, calls: Sequence[Recorded], last: int) -> None:
        """The events of `calls` are on disk, in this order, the last one as number `last`. Never raises."""
        first = last - len(calls) + 1
        with self._lock:
            self._last = last
            self._behind = self._behind or last - self._counted > MOST_WAITING
            if self._behind:
                return
        try:
            finished = [_finished(call, first + place) for place, call in enumerate(calls)]
            for each, (_, event) in zip(finished, calls, strict=True):
                self._history.add(each, event)
        except Exception:  # they are on disk, and are taken in from there after the next start
            logger.exception("llmproxy: %d calls are not counted in the store yet", len(calls))
            return
        self._handed = last
        self._clerk.finish(finished, self._writer).add_done_callback(partial(self._move, last))

    def catch_up(self, spool: Path) -> None:
        """Give the clerk what it was not given, if it is done with the rest. For one thread of its own.

        Raises StoreUnavailable where the clerk has ended, or OSError.
        """
        while self._behind and self._counted >= self._handed:
            before = self._handed
            for batch in batches_after(spool, self._writer, before):
                self._handed = batch[-1].seq
                self._clerk.finish(batch, self._writer).result()
                self._move(self._handed)
            with self._lock:
                self._behind = self._handed < self._last
            if self._handed == before:
                return

    def dropped(self, calls: Sequence[Recorded]) -> None:
        """These calls were served, and will have no event."""
        self._clerk.finish([_finished(call, 0) for call in calls], self._writer)

    def told(self, marks: Sequence[Event]) -> None:
        """These events are on disk; the clerk wants to know it of those of soft limits."""
        if ids := [event["event_id"] for event in marks if event["type"] == BUDGET_TYPE]:
            self._clerk.told(ids)

    def close(self) -> None:
        """After the clerk: the store has taken in what it could."""
        with self._lock:
            self._mark.close(whole=self._counted == self._last)

    def _move(self, number: int, counted: Future[None] | None = None) -> None:
        with self._lock:
            if counted is None or (not counted.cancelled() and counted.exception() is None):
                self._counted = number
                self._mark.move(number)


def _finished(call: Recorded, number: int) -> Finished:
    exchange, event = call
    finished = finished_of(event, seq=number, sent=exchange.sent)
    assert finished is not None  # an exchange is a call, or a session
    return finished

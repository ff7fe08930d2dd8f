"""From the worker to the ledger: calls whose events are on disk are counted in the store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from addons.exchange import Exchange
from addons.policy.history import History
from store.event import Event
from store.ledger import Clerk, Finished
from store.ledger.finished import finished_of
from store.spool.rolled import RolledMark

logger = logging.getLogger(__name__)

Recorded = tuple[Exchange, Event]
"""A call, and the event that was made of it."""


class Settling:
    """For the worker's thread. Nothing here waits for the store."""

    def __init__(self, clerk: Clerk, mark: RolledMark, writer: str, history: History) -> None:
        self._clerk = clerk
        self._history = history
        self._mark = mark
        self._writer = writer
        self._last = 0
        """Number of the last call that was handed over."""
        self._counted = 0
        """Number of the last one that is in the store."""
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Records on disk that the store has not taken in yet."""
        return self._last - self._counted

    def recorded(self, calls: Sequence[Recorded], last: int) -> None:
        """The events of `calls` are on disk, in this order, the last one as number `last`. Never raises."""
        self._last = last
        first = last - len(calls) + 1
        try:
            finished = [_finished(call, first + place) for place, call in enumerate(calls)]
            for each, (_, event) in zip(finished, calls, strict=True):
                self._history.add(each, event)
        except Exception:  # they are on disk, and are taken in from there after the next start
            logger.exception("llmproxy: %d calls are not counted in the store yet", len(calls))
            return
        self._clerk.finish(finished, self._writer).add_done_callback(partial(self._move, last))

    def dropped(self, calls: Sequence[Recorded]) -> None:
        """These calls were served, and will have no event."""
        self._clerk.finish([_finished(call, 0) for call in calls], self._writer)

    def told(self, marks: Sequence[Event]) -> None:
        """These events of soft limits are on disk."""
        self._clerk.told([event["event_id"] for event in marks])

    def close(self) -> None:
        """After the clerk: the store has taken in what it could."""
        with self._lock:
            self._mark.close(whole=self._counted == self._last)

    def _move(self, number: int, counted: Future[None]) -> None:
        with self._lock:
            if not counted.cancelled() and counted.exception() is None:
                self._counted = number
                self._mark.move(number)


def _finished(call: Recorded, number: int) -> Finished:
    exchange, event = call
    finished = finished_of(event, seq=number, sent=exchange.sent)
    assert finished is not None  # an exchange is a call, or a session
    return finished

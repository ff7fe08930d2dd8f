"""Carry refused authentications of a proxy into the audit log.

The event loop notes them; a thread of its own writes them. The first refusal for a reason, an address and a
token is written within a second; those that follow are counted, and written as one row a minute. Anyone on
the network can cause refusals, so the rows are limited: BURST at first, and PER_MINUTE after that. What is
beyond is counted in one row a minute for each reason, with OTHERS in place of the address. Refusals of known
tokens have an allowance of their own, so that a flood of invented ones does not hide them. A flood costs the
event loop a microsecond or two for each call, and the store some ten thousand rows a day.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from store.audit.log import AuditLog, Entry
from store.audit.origin import NOBODY, Origin
from store.audit.origin import address as usual_form
from store.core.errors import StoreError
from store.core.worker_thread import WorkerThread
from store.database.engine import Engine
from store.database.held_connection import KeptConnection

logger = logging.getLogger(__name__)

ACTION = "auth.refused"
OTHERS = "other addresses"
BURST = 200
"""Rows that a proxy may write at once, of known and of unknown tokens each."""
PER_MINUTE = 10
"""Rows that it gains each minute, up to BURST again."""
ROW_SECONDS = 60.0
"""Between two rows that count the same."""
FLUSH_SECONDS = 1.0
RETRY_SECONDS = 5.0
MOST = 2 * BURST
"""Kinds that wait for a store that is away."""
BUSY_SECONDS = 5.0
CLOSE_SECONDS = 10.0


class Kind(NamedTuple):
    """Describes refusals that are counted together."""

    reason: str
    address: str | None
    project_id: str | None
    token_id: str | None


@dataclass(slots=True)
class Tally:
    count: int
    since: float
    at: float


class Allowance:
    """Says how many rows may still be written. For one thread at a time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = float(BURST)
        self._asked_at = clock()

    def take(self) -> bool:
        now = self._clock()
        gained = (now - self._asked_at) * PER_MINUTE / 60
        self._left, self._asked_at = min(BURST, self._left + gained), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class AuthFailures:
    """Counts refused authentications, and writes them. Thread-safe."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._connection = KeptConnection(engine, busy_seconds=BUSY_SECONDS)
        self._lock = threading.Lock()
        self._waiting: dict[Kind, Tally] = {}
        """At most MOST kinds, and one more for each reason."""
        self._in_hand: dict[Kind, Tally] = {}
        """It is what the thread is writing."""
        self._written: dict[Kind, float] = {}
        """It says when those of the last minute were."""
        self._allowances = {known: Allowance(clock) for known in (False, True)}
        self._failing = False
        self._pause = FLUSH_SECONDS
        self._thread: WorkerThread[None] = WorkerThread(
            "llmproxy-audit",
            self._flush_due,
            batch=1,
            pause=lambda: self._pause,
            refuse=lambda *_: None,  # what is noted is counted, and not handed over
            end=self._end,
        )
        self._thread.start()

    def note(
        self, reason: str, address: str | None, *, project_id: str | None = None, token_id: str | None = None
    ) -> None:
        """Note a refusal. Never blocks on the store, never raises."""
        kind, now = Kind(reason, address, project_id, token_id), time.time()
        with self._lock:
            self._count(kind, Tally(1, now, now))

    @property
    def waiting(self) -> int:
        """Give the number of refusals that are not in the store yet."""
        with self._lock:
            kinds = [*self._waiting.values(), *self._in_hand.values()]
            return sum(tally.count for tally in kinds)

    def close(self) -> None:
        """Write what waits, then end; gives up after CLOSE_SECONDS."""
        if not self._thread.close(CLOSE_SECONDS):
            self._tell_lost()

    def _count(self, kind: Kind, more: Tally, *, allowed: bool = False) -> None:
        """Add to what waits, under the lock. `allowed`: a row for it was granted before."""
        tally = self._waiting.get(kind)
        if tally is None and kind.address != OTHERS and not self._may_wait(kind, allowed=allowed):
            kind = Kind(kind.reason, OTHERS, None, None)
            tally = self._waiting.get(kind)
        if tally is None:
            self._waiting[kind] = more
        else:
            tally.count += more.count
            tally.since, tally.at = min(tally.since, more.since), max(tally.at, more.at)

    def _may_wait(self, kind: Kind, *, allowed: bool) -> bool:
        known = kind.token_id is not None
        return len(self._waiting) < MOST and (allowed or self._allowances[known].take())

    def _flush_due(self, _: list[None]) -> None:
        self._pause = FLUSH_SECONDS if self._flush() else RETRY_SECONDS

    def _end(self) -> None:
        if not self._flush(everything=True):
            self._tell_lost()
        self._connection.close()

    def _tell_lost(self) -> None:
        logger.error("llmproxy: %d refused authentications are not in the audit log", self.waiting)

    def _flush(self, *, everything: bool = False) -> bool:
        """Write what is due. False where the store can't be written; all of it then waits on."""
        now = self._clock()
        due = self._take(now, everything=everything)
        if not due:
            return True
        try:
            self._write([_entry(kind, tally) for kind, tally in due.items()])
        except Exception as error:
            self._connection.close()
            self._put_back()
            self._tell(error)
            return False
        with self._lock:
            self._written |= dict.fromkeys(due, now)
            self._in_hand = {}
        if self._failing:
            self._failing = False
            logger.warning("llmproxy: refused authentications are written to the audit log again")
        return True

    def _take(self, now: float, *, everything: bool) -> dict[Kind, Tally]:
        """Give what was not written within the last minute."""
        with self._lock:
            self._written = {kind: at for kind, at in self._written.items() if now - at < ROW_SECONDS}
            for kind in list(self._waiting):
                if everything or kind not in self._written:
                    self._in_hand[kind] = self._waiting.pop(kind)
        return self._in_hand

    def _put_back(self) -> None:
        """Merge what was noted meanwhile into what could not be written."""
        with self._lock:
            later, self._waiting, self._in_hand = self._waiting, self._in_hand, {}
            for kind, tally in later.items():
                self._count(kind, tally, allowed=True)

    def _write(self, entries: list[Entry]) -> None:
        connection = self._connection.get()
        with connection.transaction():
            AuditLog(connection, NOBODY).add(*entries)

    def _tell(self, error: Exception) -> None:
        if self._failing:
            return
        self._failing = True
        if isinstance(error, StoreError):
            logger.warning(
                "llmproxy: refused authentications are counted, but not in the audit log at present: %s",
                error,
            )
        else:
            logger.exception("llmproxy: refused authentications could not be written to the audit log")


def _entry(kind: Kind, tally: Tally) -> Entry:
    return Entry(
        ACTION,
        outcome="refused",
        reason=kind.reason,
        project_id=kind.project_id,
        token_id=kind.token_id,
        count=tally.count,
        at=int(tally.at),
        since=int(tally.since) if tally.count > 1 else None,
        origin=Origin(None, usual_form(kind.address) or kind.address),
    )

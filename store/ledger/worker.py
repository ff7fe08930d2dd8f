"""Own the connection in a thread: all that waits goes into one transaction.

The event loop never waits for the database, and under load the cost of a transaction is shared by many calls.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from math import floor

from uuid_utils import uuid7

from store.core.errors import StoreUnavailable
from store.core.event import BudgetRecord
from store.core.worker_thread import ENDING, WorkerThread, fail
from store.database.engine import CALL_BUSY_SECONDS, Connection, Engine
from store.database.held_connection import Away, KeptConnection, unknown
from store.ledger import budget_alerts, settle
from store.ledger.budget_alerts import SoftLimits
from store.ledger.messages import Finished, LimitExceeded, ReservationDecision, ReservationRequest
from store.ledger.offline_credit import OfflineCredit
from store.ledger.reservations import LEASE_SECONDS, ReservationBatch
from store.tokens.limits import Window
from store.tokens.models import Grant
from store.usage.recent_calls import Bounds, RecentCalls
from store.usage.rollups import RollUps

logger = logging.getLogger(__name__)

BATCH = 500
"""Most claims in one transaction."""
RENEW_SECONDS = LEASE_SECONDS / 3
RETRY_SECONDS = 0.5
CLEAN_SECONDS = 60.0
CLEANING = "clean-up"
"""In the place of a project, so that one process at a time cleans up."""
GATHER_SECONDS = 0.05
"""It says how long finished calls without limits wait for others that are counted with them."""
HELD_SECONDS = 0.02
"""It is the same while calls with limits are under way: until then what they held is held."""
CLOSE_SECONDS = 10.0
"""It says how long the end waits for a store that is away."""


@dataclass(slots=True)
class _Reserve:
    call_id: str
    grant: Grant
    ask: ReservationRequest
    take: bool
    asked_at: float
    """Monotonic."""
    done: Future[ReservationDecision] = field(default_factory=Future)


@dataclass(slots=True)
class _Extend:
    call_id: str
    grant: Grant
    tokens: int
    nano_usd: int
    asked_at: float
    """Monotonic."""
    done: Future[LimitExceeded | None] = field(default_factory=Future)


@dataclass(slots=True)
class _Note:
    """Holds something that nobody waits for, but that has to be written, now or later."""

    call_ids: Sequence[str]
    locks: Sequence[str]
    """Ids of the projects that it is about."""
    write: Callable[[Connection, float], object]
    done: Future[None] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.done.set_running_or_notify_cancel()  # nobody can cancel it


class _Waking:
    """Wakes the thread, which then knows that finished calls wait."""


class _SettleFirst(Exception):
    """A claim was not granted, and finished calls wait: what they free may make room for it."""


class LedgerWorker:
    """Runs the ledger, for one process. Thread-safe; see :mod:`store.ledger` for what its methods promise."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        grace_seconds: float = 0.0,
        away: Away = unknown,
        recent: Bounds | None = None,
    ) -> None:
        """Take as `grace_seconds` how long calls go on from what is kept for them, when the store is away.

        `recent`: how many of the latest calls are kept, if any.
        """
        self._engine = engine
        self._clock, self._monotonic = clock, monotonic
        self._process = str(uuid7())
        self._asks: dict[str, ReservationRequest] = {}
        """It is that of the calls that are reserved."""
        self.on_reached: Callable[[Sequence[BudgetRecord]], None] | None = None
        """Called in the ledger's thread with budget alerts, which go on disk and are `told` then."""
        self._rollups = RollUps()
        self._recent = RecentCalls(recent or Bounds(calls=0))
        self._soft_limits = SoftLimits()
        self._spares = OfflineCredit(self._process, grace_seconds, monotonic)
        self._owed: list[_Note] = []
        """It is what could not be written yet."""
        self._finished: deque[_Note] = deque()
        """Calls that are over and wait for others. Under the lock, as the next three."""
        self._finished_since = 0.0
        """It says when the first of them came; monotonic; 0: they wait no longer."""
        self._uncovered = False
        """It tells whether one of them may cost more than it holds: no claim is granted before that
        counts."""
        self._over = False
        """It tells whether nobody counts them any more."""
        self._lock = threading.Lock()
        self._failed: tuple[float, StoreUnavailable] | None = None
        """It says when the store was last found away, and why."""
        self._cleaned = self._renewed = monotonic()
        self._connection = KeptConnection(
            engine, busy_seconds=CALL_BUSY_SECONDS, on_close=self._forget, away=away
        )
        self._thread: WorkerThread[_Reserve | _Extend | _Note | _Waking] = WorkerThread(
            "llmproxy-ledger",
            self._work_on,
            batch=BATCH,
            pause=self._pause,
            refuse=self._turn_away,
            end=self._end,
        )
        self._thread.start()

    # For any thread

    @property
    def keeps_calls(self) -> bool:
        """Tell whether finished calls are put among the latest ones."""
        return self._recent.bounds.calls > 0

    def reserve(self, ask: ReservationRequest) -> Future[ReservationDecision]:
        """Take what `ask` claims, if every limit allows it. The future raises StoreUnavailable.

        Who cancels the future, or does not wait for it, calls `release`.
        """
        claim = _Reserve(ask.call_id, ask.grant, ask, take=True, asked_at=time.monotonic())
        self._asks[ask.call_id] = ask
        self._thread.put(claim)
        return claim.done

    def look(self, ask: ReservationRequest) -> Future[ReservationDecision]:
        """Give what `reserve` would say, once all that is over is settled; nothing is taken."""
        claim = _Reserve(ask.call_id, ask.grant, ask, take=False, asked_at=time.monotonic())
        self._thread.put(claim)
        return claim.done

    def extend(self, call_id: str, tokens: int, nano_usd: int) -> Future[LimitExceeded | None]:
        """Hold so much in all for a call that was reserved here. The future raises StoreUnavailable."""
        ask = self._asks.get(call_id)
        if ask is None:  # it has no limits, or is over
            nothing: Future[LimitExceeded | None] = Future()
            nothing.set_result(None)
            return nothing
        claim = _Extend(call_id, ask.grant, tokens, nano_usd, time.monotonic())
        self._thread.put(claim)
        return claim.done

    def ended(self, call_id: str) -> None:
        """Note that the call is over, but not settled yet."""
        ask = self._asks.get(call_id)
        if ask is not None and any(each.counts_over(Window.RUNNING) for each in ask.grant.limits):
            write = partial(settle.ended, call_ids=[call_id])
            self._thread.put(_Note([call_id], [ask.grant.project.id], write))

    def release(self, call_id: str) -> None:
        """Release a call that never went upstream; one that is not reserved, or is settled, stays."""
        ask = self._asks.pop(call_id, None)
        if ask is not None:
            write = partial(settle.release, call_ids=[call_id])
            self._thread.put(_Note([call_id], [ask.grant.project.id], write))

    def finish(self, calls: Sequence[Finished], writer: str) -> Future[None]:
        """Settle calls whose events `writer` has put on disk, in the order of their numbers.

        The future is done once they are in the store; nobody has to wait for it. It raises StoreUnavailable
        where they were not when the ledger ended.
        """
        asks = [self._asks.pop(call.call_id, None) for call in calls]
        claiming = [ask.grant for ask in asks if ask is not None and ask.grant.limits_claims]
        ids, projects = [call.call_id for call in calls], [call.project_id for call in calls]
        note = _Note(ids, projects, partial(self._settle, calls=calls, writer=writer, grants=claiming))
        covered = list(map(_is_covered, calls, asks))
        # What cost more than it held is hidden from other processes no longer than it must be.
        urgent = not all(fits or ask is None for fits, ask in zip(covered, asks, strict=True))
        with self._lock:
            over, first = self._over, not self._finished
            if not over:
                self._finished.append(note)
                if urgent:
                    self._finished_since = 0.0
                elif first:
                    self._finished_since = time.monotonic()
                self._uncovered |= not all(covered)
        if over:
            fail(note.done, ENDING)
        elif first or urgent:
            self._thread.put(_Waking())
        return note.done

    def told(self, ids: Sequence[str]) -> None:
        """Note that the budget alerts with these ids are on disk."""
        self._thread.put(_Note([], [], partial(budget_alerts.told, ids=ids)))

    def renew(self) -> None:
        """Prolong the holds of this process; it does so by itself."""
        self._thread.put(_Note([], [], self._write_renewal))

    def clean_up(self) -> None:
        """Remove what decides nothing any more; it does so by itself."""
        for note in self._cleaning():
            self._thread.put(note)

    def close(self) -> None:
        """Write what waits, then end. What is still held comes back when its lease is over."""
        self._thread.close()

    # In the ledger's own thread

    def _work_on(self, batch: list[_Reserve | _Extend | _Note | _Waking]) -> None:
        """Do all that waits; called with nothing now and then, so that what is due gets done."""
        try:
            self._work_on_all(batch)
        except Exception:  # the thread ends, and nobody settles any more
            self._turn_away(_Waking(), ENDING)
            raise

    def _work_on_all(self, batch: list[_Reserve | _Extend | _Note | _Waking]) -> None:
        claims = [claim for claim in batch if isinstance(claim, _Reserve | _Extend)]
        notes = [note for note in batch if isinstance(note, _Note)]
        finished = self._take_finished() if self._are_finished_due(claims) else []
        self._work(
            [claim for claim in claims if claim.done.set_running_or_notify_cancel()],
            [*self._owed, *finished, *notes, *self._chores()],
        )

    def _pause(self) -> float:
        if self._owed:
            return RETRY_SECONDS
        with self._lock:
            if self._finished:
                return max(0.0, self._finished_since + self._gather_seconds - time.monotonic())
        return RENEW_SECONDS

    @property
    def _gather_seconds(self) -> float:
        return HELD_SECONDS if self._asks else GATHER_SECONDS

    def _are_finished_due(self, claims: Sequence[_Reserve | _Extend]) -> bool:
        looks = any(isinstance(claim, _Reserve) and not claim.take for claim in claims)
        with self._lock:
            waited = time.monotonic() - self._finished_since
            decides = looks or (self._uncovered and bool(claims))
            return bool(self._finished) and (decides or waited >= self._gather_seconds)

    def _take_finished(self) -> list[_Note]:
        with self._lock:
            found = list(self._finished)
            self._finished.clear()
            self._uncovered = False
        return found

    def _turn_away(self, item: _Reserve | _Extend | _Note | _Waking, error: StoreUnavailable) -> None:
        """Fail what came too late."""
        if not isinstance(item, _Waking):
            fail(item.done, error)
            return
        with self._lock:
            self._over = True
        for note in self._take_finished():
            fail(note.done, error)

    def _without_late(self, claims: Sequence[_Reserve | _Extend]) -> Sequence[_Reserve | _Extend]:
        """Refuse the claims that have waited while the store was found away: they wait for no second try."""
        if self._failed is None:
            return claims
        failed_at, error = self._failed
        self._refuse([claim for claim in claims if claim.asked_at < failed_at], error)
        return [claim for claim in claims if claim.asked_at >= failed_at]

    def _chores(self) -> list[_Note]:
        found, now = [], self._monotonic()
        if (self._asks or self._spares) and now - self._renewed >= RENEW_SECONDS:
            # One is enough, however long the store is away.
            if not any(note.write == self._write_renewal for note in self._owed):
                found.append(_Note([], [], self._write_renewal))
            self._renewed = now
        if now - self._cleaned >= CLEAN_SECONDS:
            found += self._cleaning()
            self._cleaned = now
        if self._recent.is_due():
            found.append(_Note([], [CLEANING], self._recent.prune))
        return found

    def _cleaning(self) -> list[_Note]:
        tidying = (settle.clean_up, budget_alerts.clean_up, self._soft_limits.retell)
        return [_Note([], [CLEANING], tidy) for tidy in tidying]

    def _work(self, claims: Sequence[_Reserve | _Extend], notes: Sequence[_Note]) -> None:
        """Do all of it in one transaction; what fails for a reason of its own is done alone."""
        self._owed = []
        claims = self._without_late(claims)
        if not claims and not notes:
            return
        try:
            try:
                answers = self._transact(claims, notes, settled=False)
            except _SettleFirst:  # the transaction was undone
                self._forget()
                notes = [*notes, *self._take_finished()]
                answers = self._transact(claims, notes, settled=True)
        except StoreUnavailable as error:
            self._connection.close()
            self._failed = time.monotonic(), error
            self._owed = list(notes)
            self._renewed = (
                self._monotonic() - RENEW_SECONDS
            )  # the first thing to do when it is back, before others claim
            self._refuse(claims, error)
        except Exception as error:
            self._connection.close()
            if len(claims) + len(notes) > 1:
                self._one_by_one(claims, notes)
            else:
                logger.error("llmproxy: the ledger could not take something in: %s", error, exc_info=True)
                self._refuse(claims, error)
                for note in notes:
                    note.done.set_exception(error)
        else:
            for note in notes:
                note.done.set_result(None)
            for claim, answer in zip(claims, answers, strict=True):
                self._tell(claim, answer)
            self._tell_of_soft_limits()

    def _one_by_one(self, claims: Sequence[_Reserve | _Extend], notes: Sequence[_Note]) -> None:
        for note in notes:
            if self._owed:  # the store is away by now; calls are counted in the order of their numbers
                self._owed.append(note)
            else:
                self._alone([], [note])
        for claim in claims:
            self._alone([claim], [])

    def _alone(self, claims: Sequence[_Reserve | _Extend], notes: Sequence[_Note]) -> None:
        owed = self._owed
        self._work(claims, notes)
        self._owed = [*owed, *self._owed]

    def _transact(
        self, claims: Sequence[_Reserve | _Extend], notes: Sequence[_Note], *, settled: bool
    ) -> list[ReservationDecision | LimitExceeded | None]:
        """Do all of it. Raises _SettleFirst where a claim is not granted, unless all is `settled`."""
        reserving = {claim.call_id for claim in claims if isinstance(claim, _Reserve)}
        # What frees something comes first, but not before the reservation that it is about, and in order.
        split = next(
            (n for n, note in enumerate(notes) if not reserving.isdisjoint(note.call_ids)), len(notes)
        )
        projects = {claim.grant.project.id for claim in claims}.union(*(note.locks for note in notes))
        projects |= self._spares.projects
        connection = self._connection.get()
        with connection.transaction():
            for project_id in sorted(projects):  # all processes in one order, so that none waits in a ring
                connection.lock(f"ledger {project_id}")
            now = self._clock()
            self._spares.begin(connection, now)
            for note in notes[:split]:
                note.write(connection, now)
            book = ReservationBatch(connection, self._process, now)
            answers: dict[int, ReservationDecision | LimitExceeded | None] = {}
            for claim in claims:
                if isinstance(claim, _Reserve):
                    answers[id(claim)] = self._reserve(book, claim, settled=settled)
            book.flush()
            for claim in claims:
                if isinstance(claim, _Extend):
                    hit = book.extend(claim.call_id, claim.grant, claim.tokens, claim.nano_usd)
                    if hit is not None and not settled and self._finished:
                        raise _SettleFirst
                    answers[id(claim)] = hit
            for note in notes[split:]:
                note.write(connection, now)
            self._spares.end(connection, now)
        self._spares.committed(renewed=any(note.write == self._write_renewal for note in notes))
        # Only a commit makes a claim count for the other processes, so nobody is told before it.
        return [answers[id(claim)] for claim in claims]

    def _reserve(self, book: ReservationBatch, claim: _Reserve, *, settled: bool) -> ReservationDecision:
        answer = book.reserve(claim.ask, take=claim.take)
        if answer.hit is not None and not settled and self._finished:
            raise _SettleFirst
        if answer.hit is not None and not answer.hit.is_rate and self._spares.give_back(book, claim.grant):
            answer = book.reserve(claim.ask, take=claim.take)
        if claim.take and answer.hit is None:
            self._spares.keep(book, claim.ask)
        elif claim.take and answer.hit is not None:
            self._soft_limits.refused(book.connection, book.now, answer.hit, claim.grant)
        return answer

    def _tell(self, claim: _Reserve | _Extend, answer: ReservationDecision | LimitExceeded | None) -> None:
        if isinstance(claim, _Reserve):
            assert isinstance(answer, ReservationDecision)
            if answer.hit is not None and claim.take:
                self._asks.pop(claim.call_id, None)
            claim.done.set_result(answer)
        else:
            assert not isinstance(answer, ReservationDecision)
            claim.done.set_result(answer)

    def _tell_of_soft_limits(self) -> None:
        reached = self._soft_limits.take()
        if reached and self.on_reached is not None:
            try:
                self.on_reached(reached)
            except Exception:  # others wait for this thread
                logger.exception("llmproxy: %d budget alerts are not recorded", len(reached))

    def _refuse(self, claims: Sequence[_Reserve | _Extend], error: Exception) -> None:
        for claim in claims:
            if isinstance(claim, _Reserve) and claim.take:
                if isinstance(error, StoreUnavailable) and self._spares.lend(claim.ask, self._clock()):
                    claim.done.set_result(ReservationDecision())
                    continue
                # It may have been committed all the same: a server can be lost while it answers.
                self.release(claim.call_id)
            claim.done.set_exception(error)

    def _settle(
        self,
        connection: Connection,
        now: float,
        *,
        calls: Sequence[Finished],
        writer: str,
        grants: Sequence[Grant],
    ) -> None:
        settle.settle(connection, now, calls=calls, writer=writer, rollups=self._rollups, recent=self._recent)
        self._soft_limits.spent(connection, now, calls, grants)

    def _write_renewal(self, connection: Connection, now: float) -> None:
        connection.run(
            "UPDATE holds SET expires_at = :expires_at WHERE process = :process AND settled_at = 0",
            expires_at=floor(now) + LEASE_SECONDS,
            process=self._process,
        )

    def _end(self) -> None:
        deadline = time.monotonic() + CLOSE_SECONDS
        self._spares.drop()
        with self._lock:
            self._over = True
        finished = self._take_finished()
        if self._spares or finished:
            self._work([], [*self._owed, *finished, _Note([], [], lambda *_: None)])
        while self._owed and time.monotonic() < deadline:
            time.sleep(RETRY_SECONDS)
            self._work([], self._owed)
        if self._owed:
            logger.error("llmproxy: %s: the last finished calls are not in the ledger", self._engine.where)
            for note in self._owed:
                note.done.set_exception(StoreUnavailable(f"{self._engine.where}: the ledger has ended"))
        self._connection.close()

    def _forget(self) -> None:
        """Forget what was read by a connection that is no more."""
        self._rollups.forget()
        self._soft_limits.forget()
        self._spares.undone()


def _is_covered(call: Finished, ask: ReservationRequest | None) -> bool:
    """Tell whether a call surely costs no more than it holds: then it may wait while others are granted."""
    if call.outcome == "refused" or call.never_sent:
        return True
    if ask is None or call.corrects or call.at_least or call.incomplete:
        return False
    if call.total_tokens is None or call.nano_usd is None:
        return False
    return call.total_tokens <= ask.tokens and call.nano_usd <= ask.nano_usd

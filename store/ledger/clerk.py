"""The thread that owns the connection: all that waits goes into one transaction.

The event loop never waits for the database, and under load the cost of a transaction is shared by many calls.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import floor
from queue import Empty, SimpleQueue

from uuid_utils import uuid7

from store.engine import Connection, Engine
from store.errors import StoreUnavailable
from store.event import Event
from store.kept_connection import KeptConnection
from store.ledger import settle, soft_limits
from store.ledger.book import LEASE_SECONDS, Book
from store.ledger.claims import Answer, Ask, Finished, Hit
from store.ledger.soft_limits import SoftLimits
from store.ledger.spares import Spares
from store.models import Grant
from store.rollups import RollUps

logger = logging.getLogger(__name__)

BATCH = 500
"""Most claims in one transaction."""
BUSY_SECONDS = 5.0
RENEW_SECONDS = LEASE_SECONDS / 3
RETRY_SECONDS = 0.5
CLEAN_SECONDS = 60.0
CLEANING = "clean-up"
"""In the place of a project, so that one process at a time cleans up."""
CLOSE_SECONDS = 10.0
"""How long the end waits for a store that is away."""


@dataclass(slots=True)
class _Reserve:
    call_id: str
    grant: Grant
    ask: Ask
    take: bool
    answer: Future[Answer] = field(default_factory=Future)


@dataclass(slots=True)
class _Extend:
    call_id: str
    grant: Grant
    tokens: int
    nano_usd: int
    answer: Future[Hit | None] = field(default_factory=Future)


@dataclass(slots=True)
class _Note:
    """Something that nobody waits for, but that has to be written, now or later."""

    call_ids: Sequence[str]
    locks: Sequence[str]
    """Ids of the projects that it is about."""
    write: Callable[[Connection, float], object]
    written: Future[None] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.written.set_running_or_notify_cancel()  # nobody can cancel it


class Clerk:
    """The ledger, for one process. Thread-safe; see :mod:`store.ledger` for what its methods promise."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        grace_seconds: float = 0.0,
    ) -> None:
        """`grace_seconds`: how long calls go on from what is kept for them, when the store is away."""
        self._engine = engine
        self._clock, self._monotonic = clock, monotonic
        self._process = str(uuid7())
        self._grants: dict[str, Grant] = {}
        """Of the calls that are reserved."""
        self.on_reached: Callable[[Sequence[Event]], None] | None = None
        """Called in the clerk's thread with events of soft limits, which go on disk and are `told` then."""
        self._rollups = RollUps()
        self._soft_limits = SoftLimits()
        self._spares = Spares(self._process, grace_seconds, monotonic)
        self._owed: list[_Note] = []
        """What could not be written yet."""
        self._cleaned = self._renewed = monotonic()
        self._connection = KeptConnection(engine, busy_seconds=BUSY_SECONDS, on_close=self._forget)
        self._queue: SimpleQueue[_Reserve | _Extend | _Note | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="llmproxy-ledger", daemon=True)
        self._thread.start()

    # For any thread

    def reserve(self, ask: Ask) -> Future[Answer]:
        """Take what `ask` claims, if every limit allows it. The future raises StoreUnavailable.

        Who cancels the future, or does not wait for it, calls `release`.
        """
        claim = _Reserve(ask.call_id, ask.grant, ask, take=True)
        self._grants[ask.call_id] = ask.grant
        self._queue.put(claim)
        return claim.answer

    def look(self, ask: Ask) -> Future[Answer]:
        """What `reserve` would say; nothing is taken."""
        claim = _Reserve(ask.call_id, ask.grant, ask, take=False)
        self._queue.put(claim)
        return claim.answer

    def extend(self, call_id: str, tokens: int, nano_usd: int) -> Future[Hit | None]:
        """Hold so much in all for a call that was reserved here. The future raises StoreUnavailable."""
        grant = self._grants.get(call_id)
        if grant is None:  # it has no limits, or is over
            nothing: Future[Hit | None] = Future()
            nothing.set_result(None)
            return nothing
        claim = _Extend(call_id, grant, tokens, nano_usd)
        self._queue.put(claim)
        return claim.answer

    def ended(self, call_id: str) -> None:
        """The call is over, but not settled yet."""
        grant = self._grants.get(call_id)
        if grant is not None and any(each.max_concurrent is not None for each in grant.limits):
            self._queue.put(_Note([call_id], [grant.project.id], partial(settle.ended, call_ids=[call_id])))

    def release(self, call_id: str) -> None:
        """The call never went upstream. Does nothing for one that was not reserved, or is settled."""
        grant = self._grants.pop(call_id, None)
        if grant is not None:
            self._queue.put(_Note([call_id], [grant.project.id], partial(settle.release, call_ids=[call_id])))

    def finish(self, calls: Sequence[Finished], writer: str) -> Future[None]:
        """Settle calls whose events `writer` has put on disk, in the order of their numbers.

        The future is done once they are in the store; nobody has to wait for it. It raises StoreUnavailable
        where they were not when the clerk ended.
        """
        for call in calls:
            self._grants.pop(call.call_id, None)
        ids, projects = [call.call_id for call in calls], [call.project_id for call in calls]
        note = _Note(ids, projects, partial(self._settle, calls=calls, writer=writer))
        self._queue.put(note)
        return note.written

    def told(self, ids: Sequence[str]) -> None:
        """The events of soft limits with these ids are on disk."""
        self._queue.put(_Note([], [], partial(soft_limits.told, ids=ids)))

    def renew(self) -> None:
        """Prolong the holds of this process; it does so by itself."""
        self._queue.put(_Note([], [], self._write_renewal))

    def clean_up(self) -> None:
        """Remove what decides nothing any more; it does so by itself."""
        for note in self._cleaning():
            self._queue.put(note)

    def close(self) -> None:
        """Write what waits, then end. What is still held comes back when its lease is over."""
        self._queue.put(None)
        self._thread.join()

    # In the clerk's own thread

    def _run(self) -> None:
        open_ = True
        while open_:
            batch = self._next_batch()
            open_ = None not in batch
            claims = [claim for claim in batch if isinstance(claim, _Reserve | _Extend)]
            notes = [note for note in batch if isinstance(note, _Note)]
            self._work(
                [claim for claim in claims if claim.answer.set_running_or_notify_cancel()],
                [*self._owed, *notes, *self._chores()],
            )
        self._end()

    def _next_batch(self) -> list[_Reserve | _Extend | _Note | None]:
        """All that waits; empty now and then, so that what is due gets done."""
        batch: list[_Reserve | _Extend | _Note | None] = []
        with suppress(Empty):
            batch.append(self._queue.get(timeout=RETRY_SECONDS if self._owed else RENEW_SECONDS))
            while len(batch) < BATCH:
                batch.append(self._queue.get_nowait())
        return batch

    def _chores(self) -> list[_Note]:
        found, now = [], self._monotonic()
        if (self._grants or self._spares) and now - self._renewed >= RENEW_SECONDS:
            # One is enough, however long the store is away.
            if not any(note.write == self._write_renewal for note in self._owed):
                found.append(_Note([], [], self._write_renewal))
            self._renewed = now
        if now - self._cleaned >= CLEAN_SECONDS:
            found += self._cleaning()
            self._cleaned = now
        return found

    def _cleaning(self) -> list[_Note]:
        tidying = (settle.clean_up, soft_limits.clean_up, self._soft_limits.retell)
        return [_Note([], [CLEANING], tidy) for tidy in tidying]

    def _work(self, claims: Sequence[_Reserve | _Extend], notes: Sequence[_Note]) -> None:
        """Do all of it in one transaction; what fails for a reason of its own is done alone."""
        self._owed = []
        if not claims and not notes:
            return
        try:
            answers = self._transact(claims, notes)
        except StoreUnavailable as error:
            self._connection.close()
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
                    note.written.set_exception(error)
        else:
            for note in notes:
                note.written.set_result(None)
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
        self, claims: Sequence[_Reserve | _Extend], notes: Sequence[_Note]
    ) -> list[Answer | Hit | None]:
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
            book = Book(connection, self._process, now)
            answers: dict[int, Answer | Hit | None] = {}
            for claim in claims:
                if isinstance(claim, _Reserve):
                    answers[id(claim)] = self._reserve(book, claim)
            book.flush()
            for claim in claims:
                if isinstance(claim, _Extend):
                    answers[id(claim)] = book.extend(claim.call_id, claim.grant, claim.tokens, claim.nano_usd)
            for note in notes[split:]:
                note.write(connection, now)
            self._spares.end(connection, now)
        self._spares.committed(renewed=any(note.write == self._write_renewal for note in notes))
        # Only a commit makes a claim count for the other processes, so nobody is told before it.
        return [answers[id(claim)] for claim in claims]

    def _reserve(self, book: Book, claim: _Reserve) -> Answer:
        answer = book.reserve(claim.ask, take=claim.take)
        if answer.hit is not None and not answer.hit.is_rate and self._spares.give_back(book, claim.grant):
            answer = book.reserve(claim.ask, take=claim.take)
        if claim.take and answer.hit is None:
            self._spares.keep(book, claim.ask)
        elif claim.take and answer.hit is not None:
            self._soft_limits.refused(book.connection, book.now, answer.hit, claim.grant)
        return answer

    def _tell(self, claim: _Reserve | _Extend, answer: Answer | Hit | None) -> None:
        if isinstance(claim, _Reserve):
            assert isinstance(answer, Answer)
            if answer.hit is not None and claim.take:
                self._grants.pop(claim.call_id, None)
            claim.answer.set_result(answer)
        else:
            assert not isinstance(answer, Answer)
            claim.answer.set_result(answer)

    def _tell_of_soft_limits(self) -> None:
        reached = self._soft_limits.take()
        if reached and self.on_reached is not None:
            try:
                self.on_reached(reached)
            except Exception:  # others wait for this thread
                logger.exception("llmproxy: %d events of soft limits are not recorded", len(reached))

    def _refuse(self, claims: Sequence[_Reserve | _Extend], error: Exception) -> None:
        for claim in claims:
            if isinstance(claim, _Reserve) and claim.take:
                if isinstance(error, StoreUnavailable) and self._spares.lend(claim.ask, self._clock()):
                    claim.answer.set_result(Answer())
                    continue
                # It may have been committed all the same: a server can be lost while it answers.
                self.release(claim.call_id)
            claim.answer.set_exception(error)

    def _settle(self, connection: Connection, now: float, *, calls: Sequence[Finished], writer: str) -> None:
        settle.settle(connection, now, calls=calls, writer=writer, rollups=self._rollups)
        self._soft_limits.spent(connection, now, calls)

    def _write_renewal(self, connection: Connection, now: float) -> None:
        connection.run(
            "UPDATE holds SET expires_at = :expires_at WHERE process = :process AND settled_at = 0",
            expires_at=floor(now) + LEASE_SECONDS,
            process=self._process,
        )

    def _end(self) -> None:
        deadline = time.monotonic() + CLOSE_SECONDS
        self._spares.drop()
        if self._spares:
            self._work([], [*self._owed, _Note([], [], lambda *_: None)])
        while self._owed and time.monotonic() < deadline:
            time.sleep(RETRY_SECONDS)
            self._work([], self._owed)
        if self._owed:
            logger.error("llmproxy: %s: the last finished calls are not in the ledger", self._engine.where)
            for note in self._owed:
                note.written.set_exception(StoreUnavailable(f"{self._engine.where}: the clerk has ended"))
        self._connection.close()

    def _forget(self) -> None:
        """What was read by a connection that is no more."""
        self._rollups.forget()
        self._soft_limits.forget()
        self._spares.undone()

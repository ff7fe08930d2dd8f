"""Use the table of objects as a proxy does: from memory, and by a thread that owns a connection.

What is noted counts in this process at once, and for others as soon as the thread has committed it, which it
does without waiting for more. While the store is away notes wait, and questions fail.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from store.core.errors import Conflict, StoreUnavailable
from store.core.worker_thread import ENDING, WorkerThread, fail
from store.database.engine import CALL_BUSY_SECONDS, Connection
from store.database.engines import engine_of
from store.database.held_connection import Away, KeptConnection, unknown
from store.database.location import Place
from store.objects import table as objects
from store.objects.table import Claim, NewObject, Owner

logger = logging.getLogger(__name__)

T = TypeVar("T")

REMEMBERED = 100_000
"""Ids that are kept in memory, about 30 MB; the store knows the others."""
BATCH = 200
"""Most jobs in one transaction."""
RETRY_SECONDS = 0.5
PRUNE_SECONDS = 600.0
MOST_WAITING = 200_000
"""Notes that wait for a store that is away; of more the oldest are given up."""
CLOSE_SECONDS = 10.0


class Job(Generic[T]):
    """Is something to do with the connection."""

    __slots__ = ("done", "keep", "reads", "work")

    def __init__(self, work: Callable[[Connection], T], *, keep: bool = False, reads: bool = False) -> None:
        self.work = work
        self.keep = keep
        """It tells whether it waits for a store that is away, however long."""
        self.reads = reads
        """It tells whether it changes nothing."""
        self.done: Future[T] = Future()

    def begin(self) -> bool:
        """Tell whether it is still wanted; from now on nobody can take it back."""
        if self.done.set_running_or_notify_cancel():
            return True
        self.done = Future()
        return self.keep

    def run(self, connection: Connection) -> None:
        result = self.work(connection)
        if not self.done.done():
            self.done.set_result(result)


class ObjectWorker:
    """Knows whose the objects are. Thread-safe."""

    def __init__(self, place: Place, *, away: Away = unknown) -> None:
        self._engine = engine_of(place)
        self._connection = KeptConnection(self._engine, busy_seconds=CALL_BUSY_SECONDS, away=away)
        self._memory: OrderedDict[str, Owner] = OrderedDict()
        self._lock = threading.Lock()
        self._waiting: list[Job[Any]] = []
        """Jobs that have to be done and could not be so far."""
        self._noting = 0
        """Notes that are not in the store yet."""
        self._pruned = time.monotonic()
        self.given_up = 0
        self._thread: WorkerThread[Job[Any]] = WorkerThread(
            "llmproxy-objects",
            self._work_on,
            batch=BATCH,
            pause=lambda: RETRY_SECONDS if self._waiting else PRUNE_SECONDS,
            refuse=lambda job, error: fail(job.done, error),
            end=self._end,
        )
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Tell whether something that was noted is not in the store yet."""
        return self._noting > 0

    def note(self, new: Sequence[NewObject], *, kept: bool = True) -> Future[None] | None:
        """Remember objects; with `kept` false only here, as long as there is room.

        The future is done once every process knows them.
        """
        if not new:
            return None
        with self._lock:
            for one in new:
                self._memory.setdefault(one.id, one.owner)
            while len(self._memory) > REMEMBERED:
                self._memory.popitem(last=False)
        if not kept:
            return None
        with self._lock:
            self._noting += 1
        noted = self.do(lambda connection: self._correct(objects.remember(connection, new)), keep=True)
        noted.add_done_callback(self._noted)
        return noted

    def _noted(self, _: Future[None]) -> None:
        with self._lock:
            self._noting -= 1

    def _correct(self, others: dict[str, Owner]) -> None:
        """Correct who made an object: of two who claim it the first one has."""
        with self._lock:
            for id_, owner in others.items():
                self._memory[id_] = owner

    def known(self, id_: str) -> Owner | None:
        """Give whose it is, as far as memory goes."""
        with self._lock:
            owner = self._memory.get(id_)
            if owner is not None:
                self._memory.move_to_end(id_)
        return owner

    def ask(self, ids: Iterable[str]) -> Future[dict[str, Owner]]:
        """Ask the store whose these are; ids that nobody made are left out. Raises StoreUnavailable."""
        wanted = list(ids)

        def look(connection: Connection) -> dict[str, Owner]:
            found = objects.owners(connection, wanted)
            with self._lock:
                self._memory.update(found)
            return found

        return self.do(look, reads=True)

    def forget(self, id_: str) -> None:
        """Forget a deleted object."""
        with self._lock:
            self._memory.pop(id_, None)
        self.do(lambda connection: objects.forget(connection, id_), keep=True)

    def parent(self, id_: str) -> Future[str | None]:
        """Give the batch that a file is the output of, where that is still to be counted."""
        return self.do(lambda connection: objects.parents(connection, [id_]).get(id_), reads=True)

    def claim(
        self, id_: str, event_id: str, writer: str, *, made: NewObject | None = None
    ) -> Future[Claim | None]:
        """See :func:`store.objects.table.claim`."""
        return self.do(lambda connection: objects.claim(connection, id_, event_id, writer, made=made))

    def settle(self, event_ids: Sequence[str]) -> None:
        """Note that these events are on disk."""
        self.do(lambda connection: objects.settle(connection, event_ids), keep=True)

    def release(self, event_ids: Sequence[str]) -> None:
        """Release what these events claimed and will not have."""
        self.do(lambda connection: objects.release(connection, event_ids), keep=True)

    def do(self, work: Callable[[Connection], T], *, keep: bool = False, reads: bool = False) -> Future[T]:
        """Have `work` done in the thread, after all that came before."""
        job = Job(work, keep=keep, reads=reads)
        self._thread.put(job)
        return job.done

    def close(self) -> None:
        """Do what was asked for, then end; gives up after CLOSE_SECONDS."""
        if not self._thread.close(CLOSE_SECONDS) or self._waiting:
            logger.error("llmproxy: %d notes on objects are lost: the store is away", self._noting)

    def _work_on(self, batch: list[Job[Any]]) -> None:
        jobs = self._waiting + [job for job in batch if job.begin()]
        self._waiting = []
        if jobs:
            self._work_all(jobs)
        elif time.monotonic() - self._pruned > PRUNE_SECONDS:
            self._pruned = time.monotonic()
            self._work([Job(objects.prune)])

    def _end(self) -> None:
        jobs, self._waiting = self._waiting, []
        self._work_all(jobs)
        for job in self._waiting:
            fail(job.done, ENDING)
        self._connection.close()

    def _work_all(self, jobs: list[Job[Any]]) -> None:
        """Work in pieces; where the store is away the first of them shows it."""
        while jobs:
            part, jobs = jobs[:BATCH], jobs[BATCH:]
            self._work(part)
            if self._waiting and jobs:
                return self._postpone(jobs, StoreUnavailable(f"{self._engine.where}: the store is away"))
        return None

    def _work(self, jobs: list[Job[Any]]) -> None:
        """Do all in one transaction; one by one where one fails, so that it does not stop the others."""
        try:
            connection = self._connection.get()
            if len(jobs) == 1 or all(job.reads for job in jobs):
                for job in jobs:
                    self._alone(connection, job)
                return
            results = []
            with connection.transaction():
                results = [job.work(connection) for job in jobs]
            # Only a commit makes it count for the other processes, so nobody is told before it.
            for job, result in zip(jobs, results, strict=True):
                job.done.set_result(result)
        except StoreUnavailable as error:
            self._postpone(jobs, error)
        except Exception:
            for job in [job for job in jobs if not job.done.done()]:
                try:
                    self._alone(self._connection.get(), job)
                except StoreUnavailable as error:
                    self._postpone([job], error)

    def _alone(self, connection: Connection, job: Job[Any]) -> None:
        try:
            try:
                job.run(connection)
            except Conflict:
                job.run(connection)  # of two processes the other was faster: now its row is there
        except StoreUnavailable:
            raise
        except Exception as error:
            if not job.done.done():
                job.done.set_exception(error)
            logger.exception("llmproxy: the table of objects could not be used")

    def _postpone(self, jobs: list[Job[Any]], error: StoreUnavailable) -> None:
        self._connection.close()
        for job in jobs:
            if not job.keep and not job.done.done():
                job.done.set_exception(StoreUnavailable(str(error)))
        self._waiting += [job for job in jobs if job.keep and not job.done.done()]
        if (beyond := len(self._waiting) - MOST_WAITING) > 0:
            for job in self._waiting[:beyond]:
                job.done.set_exception(StoreUnavailable(str(error)))
            del self._waiting[:beyond]
            self.given_up += beyond
            logger.error("llmproxy: %d notes on objects are lost: the store is away", beyond)

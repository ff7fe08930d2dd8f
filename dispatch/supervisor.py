"""Run several sinks on one spool, side by side.

Each sink has a thread, a cursor, totals and failures of its own, so that one that is down holds up no other.

::

    start ──> running ──(SIGTERM: drain)──> draining ──(empty, or the grace is over: stop)──> ended
                │  ^
                └──┘ SIGHUP: new sinks from the new settings; the cursors stay

What a stop interrupts was not confirmed, so its cursor has not moved and it is sent again by the next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from dispatch.delivery import LONGEST_SECONDS, GaveUp, Totals
from dispatch.service import POLL_SECONDS, Dispatcher, Reader
from dispatch.sinks import Sink
from store.core.errors import SpoolBusy
from store.spool import SpoolReader

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.1
FINISH_SECONDS = 3.0
"""For a request that is on its way when the grace is over."""


@dataclass(frozen=True, slots=True)
class Job:
    """Holds one sink, ready to work, and how it reads the spool."""

    name: str
    consumer: str
    batch_size: int
    sink: Sink


@dataclass(slots=True)
class Worker:
    """Is a job at work in its thread."""

    job: Job
    totals: Totals
    reader: Reader | None = None
    """None while another process holds the cursor."""
    failure: str | None = None
    """It says why it ended before all was sent."""
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Supervisor:
    """Runs jobs until they are drained, or until told to end. `drain` and `reload` may be called by signal
    handlers."""

    def __init__(
        self,
        spool: Path,
        jobs: Sequence[Job],
        *,
        follow: bool,
        grace: float,
        on_tick: Callable[[], None] = lambda: None,
        open_reader: Callable[[Path, str], Reader] = SpoolReader,
        wait_for_folder: bool = True,
    ) -> None:
        """Take as `grace` the seconds that a drain may take.

        `on_tick` is called a few times a second while it runs.

        `open_reader` gets the spool and the consumer's name; where it reads a bus there need be no spool.
        """
        self.totals = {job.name: Totals() for job in jobs}
        """By sink. Entries are added by a reload, and stay when their sink is gone."""
        self._spool = spool
        self._jobs = list(jobs)
        self._follow = follow
        self._grace = grace
        self._on_tick = on_tick
        self._open_reader = open_reader
        self._needs_folder = wait_for_folder
        self._drain = threading.Event()
        self._asked = 0
        """It says how often `drain` was called."""
        self._deadline = float("inf")
        self._next: Callable[[], Sequence[Job] | None] | None = None
        self._workers: list[Worker] = []

    @property
    def jobs(self) -> Sequence[Job]:
        """Give the jobs as the last configuration has them."""
        return tuple(self._jobs)

    def drain(self) -> None:
        """Send what is there, then end; the second call ends at once."""
        # No more than this: a signal may come while the main thread holds the lock of an event.
        self._asked += 1

    def reload(self, jobs: Callable[[], Sequence[Job] | None]) -> None:
        """Go on with the jobs that `jobs` makes; None: with those that there are."""
        self._next = jobs

    def run(self) -> dict[str, str]:
        """Work. Returns what went wrong, by sink. Raises SpoolError where there is no spool to drain."""
        if self._follow and self._needs_folder and not self._wait_for_folder():
            return {}
        try:
            self._start(self._jobs)
            while any(worker.thread and worker.thread.is_alive() for worker in self._workers):
                self._tick()
                if self._next is not None:
                    make, self._next = self._next, None
                    self._replace(make)
                if time.monotonic() >= self._deadline:
                    break
        finally:
            self._stop()
        self._on_tick()
        return {worker.job.name: worker.failure for worker in self._workers if worker.failure}

    def _tick(self) -> None:
        time.sleep(TICK_SECONDS)
        self._on_tick()
        if self._asked and not self._drain.is_set():
            self._deadline = time.monotonic() + self._grace
            self._drain.set()
        if self._asked > 1:
            self._deadline = 0.0

    def _wait_for_folder(self) -> bool:
        """Wait for the folder: a dispatcher may be started before the proxy, which makes it.

        False when told to end.
        """
        if not self._spool.is_dir():
            logger.warning("there is no spool at %s yet; waiting for the proxy to make it", self._spool)
        while not self._spool.is_dir():
            self._tick()
            if self._drain.is_set():
                return False
        return True

    def _start(self, jobs: Sequence[Job]) -> None:
        """Start after all cursors are registered.

        A segment is removed only when every consumer that is known is past it, so none may move before.
        """
        self._workers = [
            Worker(job, self.totals.setdefault(job.name, Totals()), self._try_to_open(job)) for job in jobs
        ]
        for worker in self._workers:
            # A daemon: a request that hangs must not keep the process from ending.
            worker.thread = threading.Thread(
                target=self._work, args=(worker,), name=worker.job.name, daemon=True
            )
            worker.thread.start()

    def _replace(self, make: Callable[[], Sequence[Job] | None]) -> None:
        if self._drain.is_set():
            return
        jobs = make()
        if jobs is None:
            return
        self._stop()
        self._jobs = list(jobs)
        self._start(self._jobs)
        logger.warning("configuration read again: %s", ", ".join(job.name for job in jobs))

    def _stop(self) -> None:
        """End every worker after the request that is on its way, or leave it behind where that takes long."""
        for worker in self._workers:
            worker.stop.set()
        deadline = time.monotonic() + FINISH_SECONDS
        for worker in self._workers:
            if worker.thread is not None:
                worker.thread.join(max(0.0, deadline - time.monotonic()))
                if worker.thread.is_alive():
                    logger.warning(
                        "%s: a request was still on its way; its events will be sent again", worker.job.name
                    )

    def _try_to_open(self, job: Job) -> Reader | None:
        try:
            return self._open_reader(self._spool, job.consumer)
        except SpoolBusy as error:
            logger.warning("%s: %s Waiting for it to end.", job.name, error)
            return None

    def _work(self, worker: Worker) -> None:
        try:
            reader = worker.reader or self._wait_to_open(worker)
            if reader is None:
                return
            with closing(reader):
                self._deliver(worker, reader)
        except Exception as error:  # of one sink: the others go on
            logger.exception("%s: ended by a defect", worker.job.name)
            worker.failure = f"{worker.job.name}: {error!r}"
        finally:
            worker.job.sink.close()

    def _deliver(self, worker: Worker, reader: Reader) -> None:
        job = worker.job
        while not worker.stop.is_set():
            dispatcher = Dispatcher(
                reader,
                job.sink,
                batch_size=job.batch_size,
                follow=self._follow,
                stop=worker.stop,
                drain=self._drain,
                totals=worker.totals,
            )
            try:
                dispatcher.run()
                return
            except GaveUp as error:
                worker.failure = str(error)
                if self._follow:
                    logger.error("%s: ended: %s", job.name, error)
                return
            except OSError as error:  # the spool's disk: full, or gone for a while
                worker.totals.error = f"{error.filename or reader.folder}: {error.strerror or error}"
                if not self._follow:
                    worker.failure = f"{job.name}: {worker.totals.error}"
                    return
                logger.warning(
                    "%s: %s; trying again in %.0f s", job.name, worker.totals.error, LONGEST_SECONDS
                )
                worker.stop.wait(LONGEST_SECONDS)

    def _wait_to_open(self, worker: Worker) -> Reader | None:
        while not worker.stop.wait(POLL_SECONDS) and not self._drain.is_set():
            try:
                return self._open_reader(self._spool, worker.job.consumer)
            except SpoolBusy:
                continue
        return None

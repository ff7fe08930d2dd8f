"""Run one thread that does what others hand it: in order, all that waits at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from store.core.errors import StoreUnavailable

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

ENDING = StoreUnavailable("the proxy is ending")
"""It says why items are refused that come too late."""


def fail(answer: Future[Any], error: Exception) -> None:
    """Fail the question that `answer` is for, unless it was answered or taken back."""
    if not answer.done():
        with suppress(InvalidStateError):  # taken back at this moment
            answer.set_exception(error)


class WorkerThread(Generic[Item]):
    """Hands items to `work`, in batches. Every item is worked on or refused, however the thread ends.

    The thread starts with :meth:`start`, once all that `work` needs is there.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[Item]], object],
        *,
        batch: int,
        pause: Callable[[], float],
        refuse: Callable[[Item, StoreUnavailable], object],
        end: Callable[[], object] = lambda: None,
        gather: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Have `work` get at most `batch` items, and none when none came for `pause()` seconds.

        After the first item it waits `gather()` seconds for more, so that a batch's cost is shared by many.

        `end` runs in the thread after the last of them. `refuse` gets what is handed over after that, in the
        thread of whoever does so, and what `work` was at, or had still to do, when it raised.
        """
        self._work, self._batch, self._pause = work, batch, pause
        self._refuse, self._end, self._gather = refuse, end, gather
        self._queue: SimpleQueue[Item | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._ended = False
        """It tells whether nobody takes anything from the queue any more. Under the lock."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work; what was handed over before waits for it."""
        self._thread.start()

    @property
    def closing(self) -> threading.Event:
        """Set once the end is asked for: who waits within `work` can wait for this."""
        return self._closing

    @property
    def waiting(self) -> int:
        """Give the number of items that are not taken up yet."""
        return self._queue.qsize()

    def put(self, item: Item) -> None:
        """Hand `item` over. Never blocks."""
        with self._lock:
            if not self._ended:
                self._queue.put(item)
                return
        self._refuse(item, ENDING)

    def close(self, seconds: float | None = None) -> bool:
        """Have everything done that was handed over, then end. False where `seconds` are not enough."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        batch: list[Item] = []
        try:
            open_ = True
            while open_:
                batch, open_ = self._next()
                self._work(batch)
                batch = []
            self._end()
        except Exception:
            logger.exception("llmproxy: the thread %s ended", self._thread.name)
            raise
        finally:
            self._refuse_all(batch)

    def _next(self) -> tuple[list[Item], bool]:
        """Give all that waits, and whether more may come."""
        batch: list[Item] = []
        try:
            item = self._queue.get(timeout=self._pause())
            if (seconds := self._gather()) > 0 and self._queue.qsize() < self._batch:
                self._closing.wait(seconds)
            while item is not None:
                batch.append(item)
                if len(batch) >= self._batch:
                    return batch, True
                item = self._queue.get_nowait()
        except Empty:
            return batch, True
        return batch, False

    def _refuse_all(self, batch: list[Item]) -> None:
        with self._lock:
            self._ended = True
        late = list(batch)
        while not self._queue.empty():
            if (item := self._queue.get()) is not None:
                late.append(item)
        for item in late:
            try:
                self._refuse(item, ENDING)
            except Exception:
                logger.exception("llmproxy: something that came too late could not be refused")

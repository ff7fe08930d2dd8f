"""Ask the place behind the memory in a thread, which also hears of purges that others have ordered."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from store.cache.entry import Entry
from store.cache.purge import Purge
from store.core.errors import StoreError, StoreUnavailable
from store.core.worker_thread import WorkerThread, fail

logger = logging.getLogger(__name__)

BATCH = 200
POLL_SECONDS = 0.5
"""Between two looks for purges, and for what the place wants to be done now and then."""
MOST_WAITING = 1000
"""Answers and questions that wait; beyond it answers are kept in memory only, and questions find nothing."""
PURGE_SECONDS = 20.0
CLOSE_SECONDS = 5.0


class Place(Protocol):
    """Keeps answers where processes share them. Methods raise OSError; one thread uses it."""

    def get(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return what is kept under these keys."""
        ...

    def put(self, entries: Sequence[tuple[str, Entry]]) -> None:
        """Keep entries, each until nothing can be done with it any more."""
        ...

    def purge(self, purge: Purge) -> int:
        """Remove what fits; return how many answers that were."""
        ...

    def tidy(self) -> None:
        """Do what is due: give up what is over, keep the bounds."""
        ...

    def close(self) -> None: ...


class Orders(Protocol):
    """Gives purges that are ordered for all proxies; for the same thread."""

    def new(self) -> Sequence[Purge]:
        """Return those that are new since this was called last. Raises StoreError."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Look:
    key: str
    done: Future[Entry | None] = field(default_factory=Future)


@dataclass(slots=True)
class _Keep:
    key: str
    entry: Entry


@dataclass(slots=True)
class _Purge:
    purge: Purge
    done: Future[int] = field(default_factory=Future)


Item = _Look | _Keep | _Purge


class CacheWorker:
    """Owns the place. Thread-safe."""

    def __init__(self, place: Place | None, ordered: Orders | None = None) -> None:
        """Take as `ordered` the purges that others order."""
        self._place, self._ordered = place, ordered
        self.on_purge: Callable[[Purge], object] = lambda _: None
        """Called in this thread with each purge that others have ordered."""
        self._failing = False
        self._owed: deque[Purge] = deque()
        """Purges that the place has not carried out yet."""
        self._polled = 0.0
        self._thread: WorkerThread[Item] = WorkerThread(
            "llmproxy-cache",
            self._work_on,
            batch=BATCH,
            pause=lambda: POLL_SECONDS,
            refuse=_refuse,
            end=self._end,
        )

    def start(self) -> None:
        self._thread.start()

    def look(self, key: str) -> Future[Entry | None]:
        """Ask for what is kept under `key`. The future raises StoreUnavailable at the end of the proxy."""
        question = _Look(key)
        if self._place is None or self._thread.waiting > MOST_WAITING:
            question.done.set_result(None)
        else:
            self._thread.put(question)
        return question.done

    def keep(self, key: str, entry: Entry) -> None:
        """Keep an entry, in its turn; nobody waits for that."""
        if self._place is not None and self._thread.waiting <= MOST_WAITING:
            self._thread.put(_Keep(key, entry))

    def purge(self, purge: Purge) -> int:
        """Remove what fits, and wait for it. Raises StoreUnavailable where that cannot be done in time."""
        if self._place is None:
            return 0
        order = _Purge(purge)
        self._thread.put(order)
        try:
            return order.done.result(PURGE_SECONDS)
        except TimeoutError:
            raise StoreUnavailable(f"the cache does not answer within {PURGE_SECONDS:g} s") from None

    def close(self) -> None:
        """End once all is kept that was handed over, or after CLOSE_SECONDS."""
        self._thread.close(CLOSE_SECONDS)

    def _end(self) -> None:
        if self._place is not None:
            self._place.close()
        if self._ordered is not None:
            self._ordered.close()

    def _work_on(self, batch: list[Item]) -> None:
        if time.monotonic() - self._polled >= POLL_SECONDS:
            self._polled = time.monotonic()
            self._hear()
            if self._place is not None:
                self._try(self._place.tidy)
        if self._place is None or not batch:
            return
        # In their order, and those of a kind that stand together at once.
        start = 0
        for end in range(1, len(batch) + 1):
            if end == len(batch) or type(batch[end]) is not type(batch[start]):
                self._do(self._place, batch[start:end])
                start = end

    def _do(self, place: Place, items: Sequence[Item]) -> None:
        looks = [item for item in items if isinstance(item, _Look) and _is_wanted(item.done)]
        keeps = [(item.key, item.entry) for item in items if isinstance(item, _Keep)]
        found: dict[str, Entry] = {}
        if looks:
            self._try(lambda: found.update(place.get([look.key for look in looks])))
        for look in looks:
            look.done.set_result(found.get(look.key))
        if keeps:
            self._try(lambda: place.put(keeps))
        for order in [item for item in items if isinstance(item, _Purge) and _is_wanted(item.done)]:
            try:
                order.done.set_result(place.purge(order.purge))
            except OSError as error:
                order.done.set_exception(StoreUnavailable(f"the cache: {error}"))

    def _hear(self) -> None:
        """Carry out what others have ordered; a store that is away is asked again."""
        if self._ordered is None:
            return
        with suppress(StoreError):
            for purge in self._ordered.new():
                self.on_purge(purge)
                self._owed.append(purge)
        while self._owed and self._place is not None:
            if not self._try(partial(self._place.purge, self._owed[0])):
                return
            self._owed.popleft()

    def _try(self, work: Callable[[], object]) -> bool:
        """Do without the place while it fails, and say so once; False where it does."""
        try:
            work()
        except OSError as error:
            if not self._failing:
                logger.warning("llmproxy: the cache cannot be used (%s); calls go upstream meanwhile", error)
            self._failing = True
            return False
        if self._failing:
            logger.warning("llmproxy: the cache can be used again")
        self._failing = False
        return True


def _is_wanted(question: Future[Entry | None] | Future[int]) -> bool:
    """Tell whether somebody still waits; nobody can take the question back from then on."""
    return question.set_running_or_notify_cancel()


def _refuse(item: Item, error: StoreUnavailable) -> None:
    if not isinstance(item, _Keep):
        fail(item.done, error)

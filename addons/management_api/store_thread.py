"""Work on the store, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from addons.management_api.errors import busy
from store.audit.origin import Origin
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.tokens.store import TokenStore

MOST_WAITING = 64
T = TypeVar("T")


class StoreThread:
    """Does one thing after another, each on a connection of its own: the store may have been replaced."""

    def __init__(self, location: StoreLocation, *, threads: int = 1) -> None:
        self._location = location
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="llmproxy-management")
        self._waiting = 0

    async def do(self, work: Callable[[TokenStore], T], origin: Origin) -> T:
        """Give the result of `work`, on record as done by `origin`. Raises StoreError and ApiError."""
        if self._waiting >= MOST_WAITING:
            raise busy()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, work, origin)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Finish what has begun; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Callable[[TokenStore], T], origin: Origin) -> T:
        # Its schema is up to date: the proxy has seen to that when it started.
        store = TokenStore(self._location, engine_of(self._location).connect(), origin)
        try:
            return work(store)
        finally:
            store.close()

"""Hold the cache of answers of one proxy process: memory, and the place behind it that processes share."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from addons.caching.key import variant_of
from addons.caching.settings import CacheSettings
from addons.flow.cache_use import CacheUse
from addons.openai.http.cache_control import Headers, values_of, vary_names
from store.cache.entry import Entry
from store.cache.memory import MemoryCache
from store.cache.places import place_of
from store.cache.purge import Purge
from store.cache.purges import OrderedPurges
from store.cache.worker import CacheWorker
from store.database.engine import Engine

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
"""Longest that a call waits for the place behind the memory; then it goes upstream."""
PAUSE_SECONDS = 5.0
"""It says how long calls do not ask it after one has waited in vain."""
MOST_PURGES = 1000
"""Purges that are remembered for the answers that are under way."""


class AnswerCache:
    """Looks for answers and keeps them. For the event loop, but for `purge` and `figures`."""

    def __init__(self, settings: CacheSettings, worker: CacheWorker | None = None) -> None:
        self.settings = settings
        self.memory = MemoryCache(settings.entries, settings.bytes)
        self._worker = worker
        self._asks_again_at = 0.0
        self._purges: tuple[Purge, ...] = ()
        """The latest; replaced as a whole, since threads add to it."""
        self._lock = threading.Lock()
        self.results: Counter[str] = Counter()
        """Calls by what the cache had for them, and answers that were kept."""
        if worker is not None:
            worker.on_purge = self._forget
            worker.start()

    async def find(self, key: str, request: Headers, token_id: str) -> Entry | None:
        """Return what is kept for this request, be it fresh or not."""
        entry = await self._get(key)
        if entry is not None and entry.varies is not None:
            entry = await self._get(variant_of(key, entry.varies, request, token_id))
        return entry if entry is not None and entry.varies is None else None

    def keep(self, use: CacheUse, entry: Entry, request: Headers, token_id: str) -> None:
        """Keep an answer, beside those to the same request that differ in what its ``Vary`` names."""
        if any(purge.fits(use.key, entry) for purge in self._purges):
            return
        names = set(vary_names(entry.headers)) - {"*"}
        if values_of(entry.headers, "content-encoding"):
            names.add("accept-encoding")
        index = self.memory.get(use.key, time.time())
        if index is not None and index.varies is not None:
            names |= set(index.varies)
        key = use.key
        if names:
            sorted_names = tuple(sorted(names))
            lifetime = max(entry.kept_until() - entry.stored_at, index.lifetime if index else 0.0)
            self._put(
                key,
                msgspec.structs.replace(
                    entry, varies=sorted_names, headers=(), body=b"", lifetime=lifetime, call_id=""
                ),
            )
            key = variant_of(key, sorted_names, request, token_id)
        self._put(key, entry)
        self.results["stored"] += 1

    def purge(self, purge: Purge) -> int:
        """Remove the answers that fit, here and behind; return how many there were. May take a while.

        Raises StoreUnavailable where the place behind cannot be reached.
        """
        here = self._forget(purge)
        return here if self._worker is None else max(here, self._worker.purge(purge))

    def note(self, result: str) -> None:
        """Count what the cache had for a call."""
        self.results[result] += 1

    def figures(self) -> Mapping[str, Any]:
        """Return what is kept and what came of it, for health, metrics and ``llmproxy cache stats``."""
        return {
            "entries": len(self.memory),
            "bytes": self.memory.bytes,
            "evicted": self.memory.evicted,
            "results": dict(self.results),
        }

    def use_settings(self, settings: CacheSettings) -> None:
        """Go by other options; the place stays."""
        self.settings = replace(settings, place=self.settings.place)
        self.memory.most_entries, self.memory.most_bytes = settings.entries, settings.bytes

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()

    async def _get(self, key: str) -> Entry | None:
        entry = self.memory.get(key, time.time())
        if entry is not None or self._worker is None or time.monotonic() < self._asks_again_at:
            return entry
        try:
            entry = await asyncio.wait_for(asyncio.wrap_future(self._worker.look(key)), LOOK_SECONDS)
        except TimeoutError:
            self._asks_again_at = time.monotonic() + PAUSE_SECONDS
            self.results["slow"] += 1
            return None
        except Exception:  # said by the worker
            self.results["failed"] += 1
            return None
        if entry is None or any(purge.fits(key, entry) for purge in self._purges):
            return None
        self.memory.put(key, entry)
        return entry

    def _put(self, key: str, entry: Entry) -> None:
        self.memory.put(key, entry)
        if self._worker is not None:
            self._worker.keep(key, entry)

    def _forget(self, purge: Purge) -> int:
        with self._lock:
            self._purges = (*self._purges[1 - MOST_PURGES :], purge)
        return self.memory.purge(purge)


def open_cache(settings: CacheSettings, engine: Engine) -> AnswerCache | None:
    """Open the cache that the options name; None where nothing is kept."""
    if settings.place is None:
        return None
    place = place_of(settings.place, most_entries=settings.entries, most_bytes=settings.bytes)
    return AnswerCache(settings, CacheWorker(place, OrderedPurges(engine)))


def figures_of(cache: AnswerCache | None) -> dict[str, Any]:
    """Give the figures of a proxy that are the cache's; zeros where nothing is kept."""
    kept = None if cache is None else cache.figures()
    return {
        "cache": kept,
        "cache_results": kept["results"] if kept else {},
        "cache_entries": kept["entries"] if kept else 0,
        "cache_bytes": kept["bytes"] if kept else 0,
    }

"""Keep answers in this process's memory: the first place that is looked at."""

from __future__ import annotations

import threading
from collections import OrderedDict

from store.cache.entry import Entry
from store.cache.purge import Purge


class MemoryCache:
    """Keeps the answers used last, within bounds. Thread-safe; nothing in it takes long but a purge."""

    def __init__(self, most_entries: int, most_bytes: int) -> None:
        self.most_entries, self.most_bytes = most_entries, most_bytes
        self.bytes = 0
        self.evicted = 0
        """Entries that were removed to keep the bounds."""
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str, now: float) -> Entry | None:
        """Return what is kept under `key`, unless nothing can be done with it any more."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry.kept_until() <= now:
                self._remove(key)
                return None
            self._entries.move_to_end(key)
            return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry, and give up those used longest ago where it needs their room."""
        if entry.size > self.most_bytes:
            return
        with self._lock:
            self._remove(key)
            self._entries[key] = entry
            self.bytes += entry.size
            while len(self._entries) > self.most_entries or self.bytes > self.most_bytes:
                self._remove(next(iter(self._entries)))
                self.evicted += 1

    def remove(self, key: str) -> None:
        with self._lock:
            self._remove(key)

    def purge(self, purge: Purge) -> int:
        """Remove the entries that fit; return how many answers that were."""
        with self._lock:
            gone = [key for key, entry in self._entries.items() if purge.fits(key, entry)]
            answers = sum(self._entries[key].varies is None for key in gone)
            for key in gone:
                self._remove(key)
        return answers

    def _remove(self, key: str) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self.bytes -= entry.size

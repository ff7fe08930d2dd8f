"""Look every few seconds at what is wrong, and write it into the spool when it begins and when it is over.

Who was told is in the store, so that of several dispatchers on it one tells. While the store is away it is
remembered in memory, and only what this spool shows is looked at. What the disk can't hold is sent at once.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dispatch.alerting.conditions import SpendRule, fast_spenders, unhealthy
from store.core.errors import StoreError
from store.core.event import AlertRecord
from store.core.file_locks import claim
from store.core.periodic_thread import PeriodicThread
from store.database.engine import Connection
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.spool import SpoolWriter
from store.upkeep.alerts import (
    PROXY_UNHEALTHY,
    Condition,
    Entries,
    EntriesInMemory,
    Entry,
    StoredEntries,
    advance,
    mark_told,
)
from store.upkeep.fleet import elsewhere
from store.upkeep.overview import local_writers

logger = logging.getLogger(__name__)

SECONDS = 15.0
"""Between two looks."""
SPEND_SECONDS = 300.0
"""Between two looks at what projects spend."""
BUSY_SECONDS, CLOSE_SECONDS = 2.0, 5.0
LOCK = "alerts.lock"
"""In the spool: of several dispatchers with sinks for alerts, one looks."""
SEEN_HERE = frozenset({"disk_full", "store_missing"})
"""Reasons that only a dispatcher on the same spool can see."""


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Says what is told."""

    after: float = 60.0
    """Seconds for which something must be wrong, or right again, before that is told."""
    spend: SpendRule = field(default_factory=SpendRule)


class AlertWatch:
    """Watches one spool and its store, in a thread."""

    def __init__(
        self,
        store: StoreLocation,
        spool: Path,
        settings: WatchSettings,
        send: Callable[[AlertRecord], bool] = lambda _: False,
        *,
        writes: bool = True,
    ) -> None:
        """Take as `send` what sends a record past the spool; it returns whether that was taken.

        `writes`: whether somebody reads what is written into the spool.
        """
        self._store, self._spool, self._settings, self._send = store, spool, settings, send
        self._writes = writes
        self._memory = EntriesInMemory()
        self._here = f"{socket.gethostname()}:{spool.resolve()}"
        self._seen: set[str] = set()
        """Ids of conditions that this process has found."""
        self._spenders: tuple[float, list[Condition]] = (float("-inf"), [])
        self._lock: int | None = None
        self._away = self._prepared = False
        self._thread = PeriodicThread("llmproxy-alerts", self._look, pause=lambda: SECONDS)
        self.start = self._thread.start

    def close(self) -> None:
        self._thread.close(CLOSE_SECONDS)

    def _look(self) -> None:
        if self._is_mine():
            self.look(int(time.time()))

    def _is_mine(self) -> bool:
        """Tell whether this is the process that looks."""
        if not self._writes:
            return True
        if self._lock is None and self._spool.is_dir():
            self._lock = claim(self._spool / LOCK)
        return self._lock is not None

    def look(self, now: int) -> None:
        """Look once, and tell what has begun or is over."""
        try:
            with self._connected() as connection:
                entries = StoredEntries(connection)
                self._memory.save(entries)
                others = elsewhere(connection, local_writers(self._spool))
                self._name_spool(connection)
                found = [*unhealthy(self._store, self._spool, others, self._here)]
                found += self._fast_spenders(connection, now)
                self._tell_all(entries, found, now, self._is_seen)
                self._memory.entries = entries.all()
                self._away = False
        except StoreError as error:
            if not self._away:
                logger.warning("alerts: until the store is there, this spool alone is looked at: %s", error)
            self._away, self._prepared = True, False
            found = list(unhealthy(self._store, self._spool, [], self._here))
            self._tell_all(self._memory, found, now, lambda entry: entry.place == self._here)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        engine = engine_of(self._store)
        if not self._prepared:
            engine.prepare(create=False)
            self._prepared = True
        with closing(engine.connect(busy_seconds=BUSY_SECONDS)) as connection:
            yield connection

    def _name_spool(self, connection: Connection) -> None:
        """Call the spool as its proxies do, who may be in another container."""
        rows = connection.rows(
            "SELECT host, spool FROM proxies WHERE writer IN :writers ORDER BY updated_at DESC LIMIT 1",
            writers=sorted(local_writers(self._spool)),
        )
        for row in rows:
            self._here = f"{row['host']}:{row['spool']}"

    def _fast_spenders(self, connection: Connection, now: int) -> list[Condition]:
        at, found = self._spenders
        if now - at >= SPEND_SECONDS:
            found = list(fast_spenders(connection, self._settings.spend, datetime.fromtimestamp(now, UTC)))
            self._spenders = now, found
        return found

    def _is_seen(self, entry: Entry) -> bool:
        """Tell whether this process would have found what an entry is about."""
        if entry.place == self._here or entry.id in self._seen:
            return True
        record = entry.record()
        return record.alert == PROXY_UNHEALTHY and record.reason not in SEEN_HERE

    def _tell_all(
        self, entries: Entries, found: list[Condition], now: int, is_seen: Callable[[Entry], bool]
    ) -> None:
        conditions = {condition.id: condition for condition in found}
        self._seen |= conditions.keys()
        for entry in advance(entries, conditions, now, self._settings.after, is_seen):
            if self._tell(entry.record()):
                mark_told(self._memory, entry)  # first: the store may go away at this moment
                if entries is not self._memory:
                    mark_told(entries, entry)

    def _tell(self, record: AlertRecord) -> bool:
        logger.warning("alert: %s", record.summary)
        if not self._writes:
            return self._send(record)
        try:
            writer = SpoolWriter(self._spool)
            writer.append([record])
            writer.close()
        except OSError as error:
            logger.warning("alert: not written, but sent at once: %s", error)
            return self._send(record)
        return True

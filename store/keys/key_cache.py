"""Keep the projects' keys in a proxy's memory: at hand in a microsecond, read by threads of their own.

A key is decrypted once for each time that it is set. One that is kept elsewhere is read again REFRESH_SECONDS
after it was last read, by the next call and behind its back; ``llmproxy project update`` with the same
reference has it read at once. While its source fails, the key that is known serves for GRACE_SECONDS.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from store.core.errors import KeyUnavailable
from store.core.secret import Secret
from store.database.location import Place, StoreLocation
from store.keys import master_key
from store.keys.master_key import MasterKeys
from store.tokens.models import Project

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 300.0
GRACE_SECONDS = 3600.0
RETRY_SECONDS = 5.0
"""It says how long a failure is remembered, so that a flood of calls is none of the source's."""
THREADS = 4

Stamp = tuple[str, datetime | None]


@dataclass(slots=True)
class Entry:
    """Holds what is known of one project's key."""

    stamp: Stamp
    """The stored key and when the project was changed: another one is another key."""
    secret: Secret | None = None
    read_at: float = 0.0
    """Monotonic seconds, as all times here."""
    failed_at: float | None = None
    reading: Future[Secret] | None = None

    def usable(self, now: float, reference: bool) -> bool:
        return self.secret is not None and (
            not reference or now - self.read_at < REFRESH_SECONDS + GRACE_SECONDS
        )

    def due(self, now: float) -> bool:
        """Tell whether the source should be asked (again)."""
        if (self.reading and not self.reading.done()) or (
            self.failed_at is not None and now - self.failed_at < RETRY_SECONDS
        ):
            return False
        return self.secret is None or now - self.read_at >= REFRESH_SECONDS


class KeyCache:
    """Keeps keys for one proxy. :meth:`get` is for one thread, the event loop's."""

    def __init__(self, store: Place) -> None:
        self._store = StoreLocation.of(store)
        self._masters: MasterKeys | None = None
        self._loading = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="llmproxy-keys")

    def get(self, project: Project) -> Secret | Future[Secret]:
        """Give the key, or what will be it or raise KeyUnavailable."""
        reference = project.key.is_reference
        stamp = (project.key.text, project.updated_at if reference else None)
        entry = self._entries.get(project.id)
        if entry is None or entry.stamp != stamp:
            entry = self._entries[project.id] = Entry(stamp)
        elif not reference and entry.secret is not None:
            return entry.secret
        now = time.monotonic()
        if entry.due(now):
            entry.reading = self._pool.submit(self._read, project, entry)
        if entry.usable(now, reference):
            assert entry.secret is not None
            return entry.secret
        assert entry.reading is not None  # of the failure, where it is not due again
        return entry.reading

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, project: Project, entry: Entry) -> Secret:
        try:
            secret = project.key.read(project.id, self._known_masters(project), self._store)
        except Exception as error:
            # Whatever it is, a thread's end must not leave calls waiting for ever.
            why = str(error) if isinstance(error, KeyUnavailable) else repr(error)
            entry.failed_at = time.monotonic()
            served = "the key that is known serves" if entry.secret else "calls are refused"
            logger.warning("llmproxy: the key of project %r: %s (%s)", project.name, why, served)
            raise KeyUnavailable(why) from error
        entry.secret, entry.read_at, entry.failed_at = secret, time.monotonic(), None
        return secret

    def _known_masters(self, project: Project) -> MasterKeys | None:
        """Give the master keys, read anew where the needed one is not among them: they were rotated."""
        if project.key.kind != "encrypted":
            return None
        with self._loading:
            wanted = master_key.key_id_of(project.key.text)
            if self._masters is None or not self._masters.knows(wanted):
                self._masters = master_key.load(self._store)
            return self._masters

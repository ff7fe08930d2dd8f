"""Report the head of the audit log to wherever events go: it should be where the store's writers can't write.

A minute after a proxy's start and then once an hour, if the log has grown, as an event of type
``llm_proxy_audit``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from uuid_utils import uuid7

from store.audit.log import AuditLog
from store.audit.origin import NOBODY
from store.audit.record import GENESIS, Head
from store.core.errors import StoreError
from store.core.event import AuditRecord
from store.core.periodic_thread import PeriodicThread
from store.core.times import rfc3339
from store.database.engine import Engine

FIRST_SECONDS = 60.0
SECONDS = 3600.0


class AuditHeadReporter:
    """Runs a thread of its own. `tell` gets the events, and must not block."""

    def __init__(self, engine: Engine, tell: Callable[[Sequence[AuditRecord]], None]) -> None:
        self._engine = engine
        self._tell = tell
        self._told = GENESIS
        self._pause = FIRST_SECONDS
        self._thread = PeriodicThread(
            "llmproxy-audit-head", self._look, pause=lambda: self._pause, first=FIRST_SECONDS
        )
        self._thread.start()

    def close(self) -> None:
        """Tell of no other head; a look at the store that is under way is not waited for."""
        self._thread.close(0)

    def _look(self) -> None:
        self._pause = FIRST_SECONDS
        with contextlib.suppress(StoreError):  # others tell of a store that is away
            head = self._read()
            if head != self._told and not self._thread.closing:
                self._told = head
                self._tell([_record(head)])
            self._pause = SECONDS

    def _read(self) -> Head:
        connection = self._engine.connect()
        try:
            return AuditLog(connection, NOBODY).head()
        finally:
            connection.close()


def _record(head: Head) -> AuditRecord:
    return AuditRecord(event_id=str(uuid7()), timestamp=rfc3339(datetime.now(UTC)), head=str(head))

"""Tells the head of the audit log to wherever events go: it should be where the store's writers can't write.

A minute after a proxy's start and then once an hour, if the log has grown, as an event of type
``llm_proxy_audit``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from uuid_utils import uuid7

from store.audit.log import AuditLog
from store.audit.origin import NOBODY
from store.audit.record import GENESIS, Head
from store.engine import Engine
from store.errors import StoreError
from store.event import AUDIT_TYPE, SCHEMA, Event
from store.models import rfc3339

FIRST_SECONDS = 60.0
SECONDS = 3600.0


class HeadTeller:
    """A thread of its own. `tell` gets the events, and must not block."""

    def __init__(self, engine: Engine, tell: Callable[[Sequence[Event]], None]) -> None:
        self._engine = engine
        self._tell = tell
        self._told = GENESIS
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llmproxy-audit-head", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        pause = FIRST_SECONDS
        while not self._ended.wait(pause):
            pause = SECONDS
            try:
                head = self._read()
            except StoreError:  # others tell of a store that is away
                pause = FIRST_SECONDS
                continue
            if head != self._told and not self._ended.is_set():
                self._told = head
                self._tell([_event(head)])

    def _read(self) -> Head:
        connection = self._engine.connect()
        try:
            return AuditLog(connection, NOBODY).head()
        finally:
            connection.close()


def _event(head: Head) -> Event:
    """See docs/event.md."""
    return {
        "schema": SCHEMA,
        "type": AUDIT_TYPE,
        "event_id": str(uuid7()),
        "timestamp": rfc3339(datetime.now(UTC)),
        "head": str(head),
    }

"""The head of the audit log is told to wherever events go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatch.message import message
from store.audit import heads
from store.audit.heads import AuditHeadReporter
from store.audit.log import AuditLog, Entry
from store.core.event import AuditRecord
from store.core.event_fields import to_fields
from store.database.engine import Connection
from store.database.engines import engine_of
from store.database.location import StoreLocation
from tests.live.harness import wait_for


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[AuditRecord]:
    monkeypatch.setattr(heads, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(heads, "SECONDS", 0.01)
    return []


@pytest.fixture
def teller(
    place: StoreLocation, connection: Connection, told: list[AuditRecord]
) -> Iterator[AuditHeadReporter]:
    teller = AuditHeadReporter(engine_of(place), told.extend)
    yield teller
    teller.close()
    teller._thread.close(60)


def test_a_head_is_told_once(
    teller: AuditHeadReporter, connection: Connection, log: AuditLog, told: list[AuditRecord]
) -> None:
    for rows in (1, 2):
        with connection.transaction():
            log.add(Entry("token.create"))
        wait_for(lambda: len(told) >= rows, "an event")  # noqa: B023 - at once
        assert told[-1].head == str(log.head())
    asked = threading.Event()
    read = teller._read

    def look() -> object:
        asked.set()
        return read()

    teller._read = look  # type: ignore[assignment, method-assign]
    asked.wait(60)
    assert len(told) == 2
    fields = to_fields(told[0])
    sent = message({**fields, "writer": "w", "seq": 1})
    assert sent["head"] == told[0].head
    assert sent.keys() == {*fields, "writer", "seq"}


def test_an_empty_log_is_not_told_and_a_store_that_comes_back_is(path: Path, told: list[AuditRecord]) -> None:
    engine = engine_of(path)
    teller = AuditHeadReporter(engine, told.extend)  # there is no store yet
    engine.prepare()
    connection = engine.connect()
    with connection.transaction():
        AuditLog(connection, heads.NOBODY).add(Entry("token.create"))
    connection.close()
    assert wait_for(lambda: told, "an event")[0].head.startswith("1:")
    teller.close()

"""Refused authentications: all of them are counted, and no flood fills the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store.audit import refusals
from store.audit.log import AuditLog
from store.audit.record import Record
from store.audit.refusals import BURST, MOST, OTHERS, PER_MINUTE, AuthFailures
from store.core.errors import StoreUnavailable
from store.database.engine import Connection
from store.database.engines import engine_of
from store.database.location import StoreLocation
from tests.live.harness import wait_for


class Clock:
    """Seconds that pass when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def noted(
    place: StoreLocation, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AuthFailures]:
    monkeypatch.setattr(refusals, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(refusals, "RETRY_SECONDS", 0.01)
    noted = AuthFailures(engine_of(place), clock=clock)
    yield noted
    noted.close()


Rows = Callable[[], list[Record]]


@pytest.fixture
def rows(log: AuditLog) -> Rows:
    return lambda: list(log.records())


def test_a_refusal_is_on_record_at_once(noted: AuthFailures, rows: Rows, log: AuditLog) -> None:
    noted.note("revoked", "192.0.2.1", project_id="p1", token_id="t1")
    (row,) = wait_for(rows, "a row")
    assert (row.action, row.outcome, row.reason) == ("auth.refused", "refused", "revoked")
    assert (row.address, row.project_id, row.token_id) == ("192.0.2.1", "p1", "t1")
    assert (row.count, row.since, row.actor, row.before, row.after) == (1, None, None, None, None)
    assert log.verify().whole


def test_those_that_follow_are_one_row_a_minute(noted: AuthFailures, rows: Rows, clock: Clock) -> None:
    noted.note("unknown", "192.0.2.1")
    wait_for(rows, "the first row")
    for _ in range(500):
        noted.note("unknown", "192.0.2.1")
    noted.note("unknown", "192.0.2.2")
    wait_for(lambda: len(rows()) == 2, "a row of the other address")
    wait_for(lambda: noted.waiting == 500, "the others to wait")
    clock.now += 61
    last = wait_for(lambda: rows()[2:], "a row of the rest")[0]
    assert (last.address, last.count) == ("192.0.2.1", 500)
    assert last.since is not None
    assert last.since <= last.at


def test_what_waits_is_written_at_the_end(noted: AuthFailures, rows: Rows) -> None:
    noted.note("unknown", "192.0.2.1")
    wait_for(rows, "the first row")
    noted.note("unknown", "192.0.2.1")
    noted.close()
    assert sum(row.count for row in rows()) == 2


def test_a_flood_from_many_addresses_is_bounded_and_counted(
    noted: AuthFailures, rows: Rows, clock: Clock
) -> None:
    for minute in range(3):
        for number in range(2_000):
            noted.note("unknown", f"2001:db8:{minute}::{number:x}")
        clock.now += 61
        wait_for(lambda: noted.waiting == 0, "written")
    noted.note("revoked", "192.0.2.1", token_id="t1")
    noted.close()
    found = rows()
    assert sum(row.count for row in found) == 6_001
    assert len(found) <= BURST + 3 * (PER_MINUTE + 3) + 1
    assert sum(row.count for row in found if row.address == OTHERS) > 5_000
    assert [row.address for row in found if row.token_id == "t1"] == ["192.0.2.1"], "not hidden by the flood"


def test_a_store_that_is_away_costs_no_count(
    noted: AuthFailures, rows: Rows, path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    away = path.with_name("away")
    path.rename(away)
    noted.note("unknown", "192.0.2.1")
    wait_for(lambda: "not in the audit log at present" in caplog.text, "a warning")
    for minute in range(60):
        for number in range(40):
            noted.note("unknown", f"2001:db8:{minute}::{number:x}")
        clock.now += 61
    assert noted.waiting == 2_401
    away.rename(path)
    wait_for(lambda: noted.waiting == 0, "written")
    found = rows()
    assert sum(row.count for row in found) == 2_401
    assert len(found) <= 2 * (MOST + 1), "what was in hand, and what came meanwhile"
    assert caplog.text.count("not in the audit log at present") == 1
    wait_for(lambda: "to the audit log again" in caplog.text, "the all-clear")


def test_what_comes_while_a_write_fails_is_counted(
    path: Path, connection: Connection, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(refusals, "RETRY_SECONDS", 0.01)
    engine = engine_of(path)
    real, failures = engine.connect, iter(range(3))

    def connect(**settings: float) -> Connection:
        if next(failures, None) is None:
            return real(**settings)
        for last in (1, 2):
            noted.note("unknown", f"192.0.2.{last}")
        raise StoreUnavailable("away")

    monkeypatch.setattr(engine, "connect", connect)
    noted = AuthFailures(engine)
    noted.note("unknown", "192.0.2.1")
    wait_for(lambda: len(rows()) == 2, "two rows")
    noted.close()
    assert [(row.address, row.count) for row in rows()] == [("192.0.2.1", 4), ("192.0.2.2", 3)]


def test_what_is_lost_at_the_end_is_told(
    noted: AuthFailures, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.unlink()
    noted.note("unknown", None)
    noted.note("unknown", None)
    noted.close()
    assert "2 refused authentications are not in the audit log" in caplog.text


def test_the_end_does_not_wait_for_a_store_that_hangs(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(refusals, "CLOSE_SECONDS", 0.05)
    goes_on = threading.Event()
    engine = engine_of(path)

    def connect(**_: float) -> Connection:
        goes_on.wait(60)
        raise StoreUnavailable("away")

    monkeypatch.setattr(engine, "connect", connect)
    noted = AuthFailures(engine)
    noted.note("unknown", None)
    noted.close()
    assert "1 refused authentications are not in the audit log" in caplog.text
    goes_on.set()


def test_threads_may_note_at_once(noted: AuthFailures, rows: Rows) -> None:
    def note() -> None:
        for _ in range(1_000):
            noted.note("missing", None)

    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    noted.close()
    assert sum(row.count for row in rows()) == 4_000

"""The audit log in a store: what is appended, found, pruned and proved there."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from store.audit.log import AuditLog, Entry, Wanted, changed
from store.audit.origin import Origin
from store.audit.record import GENESIS
from store.core.errors import StoreError
from store.database.engine import Connection
from store.database.engines import engine_of
from store.database.location import StoreLocation
from tests.store.audit.conftest import ORIGIN

DAY = 86_400
NOW = 1_764_000_000


def fill(connection: Connection, log: AuditLog, rows: int = 10) -> None:
    for number in range(1, rows + 1):
        with connection.transaction():
            log.add(Entry("token.create", token_id=f"t{number}", at=NOW + number * DAY))


def test_a_row_holds_what_was_given(connection: Connection, log: AuditLog) -> None:
    entry = Entry(
        "token.update",
        project_id="p1",
        token_id="t1",
        before={"metadata": {"team": "a"}, "active": True},
        after={"metadata": {"team": "süd"}, "active": False},
    )
    with connection.transaction():
        log.add(entry)
    (row,) = connection.rows("SELECT * FROM audit")
    assert (row["seq"], row["action"], row["outcome"], row["count"]) == (1, "token.update", "success", 1)
    assert (row["actor"], row["address"]) == (ORIGIN.actor, ORIGIN.address)
    assert json.loads(row["after"]) == entry.after
    assert (row["previous"], row["hash"]) == (GENESIS.hash, log.head().hash)
    assert log.verify().whole


def test_what_is_rolled_back_was_not_logged(connection: Connection, log: AuditLog) -> None:
    fill(connection, log, 2)
    with suppress(RuntimeError), connection.transaction():
        log.add(Entry("token.revoke"))
        raise RuntimeError
    verdict = log.verify()
    assert verdict.whole
    assert verdict.rows == 2


@pytest.mark.parametrize(
    ("tampering", "kind", "rows"),
    [
        ("UPDATE audit SET actor = 'os:nobody@x' WHERE seq = 4", "changed", (4, 4)),
        ("UPDATE audit SET after = '{ }' WHERE seq = 4", "changed", (4, 4)),
        ("UPDATE audit SET seq = 40 WHERE seq = 4", "missing", (4, 4)),
        ("DELETE FROM audit WHERE seq IN (4, 5)", "missing", (4, 5)),
        ("DELETE FROM audit WHERE seq < 3", "missing", (1, 2)),
        ("DELETE FROM audit WHERE seq > 7", "cut", (8, 10)),
        ("DELETE FROM audit", "cut", (1, 10)),
        ("UPDATE audit_head SET seq = 9", "added", (10, 10)),
        ("DELETE FROM audit_head", "cut", (10, 10)),
    ],
)
def test_tampering_is_found(
    tampering: str, kind: str, rows: tuple[int, int], connection: Connection, log: AuditLog
) -> None:
    fill(connection, log)
    connection.run(tampering)
    fault = log.verify().faults[0]
    assert (fault.kind, fault.first, fault.last) == (kind, *rows)


def test_without_its_head_the_log_takes_nothing(connection: Connection, log: AuditLog) -> None:
    connection.run("DELETE FROM audit_head")
    with pytest.raises(StoreError, match="head of the store's audit log is gone"), connection.transaction():
        log.add(Entry("token.create"))


def test_find(connection: Connection, log: AuditLog) -> None:
    fill(connection, log, 3)
    other = Origin("os:bob_@x claim:jane@example.com", "2001:db8::1")
    with connection.transaction():
        log.add(Entry("tokens", project_id="p1", at=NOW, origin=other))
        log.add(Entry("auth.refused", outcome="refused", reason="unknown", at=NOW, count=7, origin=other))

    def seqs(**wanted: Any) -> list[int]:
        return [record.seq for record in log.find(Wanted(**wanted), limit=50)]

    assert seqs() == [5, 4, 3, 2, 1]
    assert [record.seq for record in log.find(Wanted(), limit=2)] == [5, 4]
    assert seqs(action="token") == [3, 2, 1]
    assert seqs(action="token.create", token_id="t2") == [2]
    assert seqs(actor="jane@") == seqs(actor="bob_") == seqs(address="2001:db8::1") == [5, 4]
    assert seqs(actor="bob%") == []
    assert seqs(project_id="p1") == [4]
    assert seqs(reason="unknown", outcome="refused") == [5]
    assert seqs(since=NOW + 2 * DAY, until=NOW + 3 * DAY) == [2]


def test_pruning_leaves_a_chain_that_can_be_verified(connection: Connection, log: AuditLog) -> None:
    fill(connection, log)
    noted = [record.head for record in log.records()]
    assert log.prune(NOW) is None
    done = log.prune(NOW + 5 * DAY)
    assert done
    assert done.after == {"through": 4, "hash": noted[3].hash, "rows": 4}
    assert [record.seq for record in log.records()] == [5, 6, 7, 8, 9, 10, 11]
    verdict = log.verify([noted[3], noted[8]])
    assert verdict.whole
    assert (verdict.begins.seq, verdict.compared) == (4, 2)
    connection.run("DELETE FROM audit WHERE seq = 5")
    assert str(log.verify().faults[0]).startswith("rows 1 to 5: missing")


def test_everything_can_be_pruned_and_goes_on(connection: Connection, log: AuditLog) -> None:
    fill(connection, log)
    assert log.prune(2**40)
    fill(connection, log, 2)
    assert log.verify().whole
    assert [record.action for record in log.records()] == ["audit.prune", "token.create", "token.create"]


def test_many_rows_are_read_in_pages(connection: Connection, log: AuditLog) -> None:
    with connection.transaction():
        log.add(*(Entry("token.create", token_id=str(number)) for number in range(2_500)))
    verdict = log.verify()
    assert verdict.whole
    assert verdict.rows == 2_500


def test_changed_names_the_fields_that_differ() -> None:
    before = {"name": "a", "active": True, "gone": 1}
    after = {"name": "b", "active": True, "new": 2}
    assert changed(before, after) == (
        {"name": "a", "gone": 1, "new": None},
        {"name": "b", "gone": None, "new": 2},
    )


def test_a_second_log_on_another_connection_sees_the_first(
    place: StoreLocation, connection: Connection, log: AuditLog
) -> None:
    fill(connection, log, 2)
    other = engine_of(place).connect()
    try:
        assert AuditLog(other, ORIGIN).head() == log.head()
    finally:
        other.close()

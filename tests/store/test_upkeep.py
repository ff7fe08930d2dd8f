"""Backups, restores and copies, on every engine; what a check finds."""

from __future__ import annotations

import base64
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from store.audit.origin import NOBODY
from store.core.errors import Conflict, NotFound, StoreError
from store.database.engine import Connection
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.database.schema import TABLES
from store.keys import master_key
from store.tokens.lookups import lookup_of
from store.tokens.store import TokenStore
from store.upkeep.backup import backup, copy, restore
from store.upkeep.check import check
from store.upkeep.transfer import PAGE, pages
from tests.store.engines import ENGINES, Databases, add_row, found, let_it_hold

KEY = "sk-live-1234567890"


@pytest.fixture(autouse=True)
def with_master_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(master_key.VARIABLE, base64.b64encode(b"m" * 32).decode())


@pytest.fixture
def full(store: TokenStore) -> Iterator[str]:
    """A store with a few rows everywhere; the text of a token."""
    store.create_project("acme", KEY)
    store.create_project("other", "env:KEY")
    texts = [store.create_token("acme", metadata={"team": "ä"})[1] for _ in range(3)]
    connection = engine_of(store.location).connect()
    for number in range(PAGE + 3):
        place = {"subject": "s", "period": "hour", "starts_at": number}
        add_row(connection, "spend", place, NUMBERS)
    connection.close()
    return texts[0].reveal()


NUMBERS = {"requests": 1, "tokens": 2, "nano_usd": 3, "assumed": 0}


def dump(location: StoreLocation) -> dict[str, list[dict[str, object]]]:
    """Everything but what a copy changes: the audit log's end and the revision."""
    connection = engine_of(location).connect()
    try:
        rows = {
            table.name: [dict(row) for page in pages(connection, table) for row in page]
            for table in TABLES
            if table.name not in ("audit_head", "revision")
        }
    finally:
        connection.close()
    rows["audit"] = [row for row in rows["audit"] if not str(row["action"]).startswith("store.")]
    return rows


def failed(location: StoreLocation) -> dict[str, str]:
    return {finding.check: finding.detail for finding in check(location) if not finding.ok}


def test_a_sound_store(place: StoreLocation, full: str) -> None:
    assert failed(place) == {}
    assert len(check(place)) == (7 if StoreLocation.of(place).path else 6)


def test_a_backup_is_the_whole_store_in_one_file(place: StoreLocation, full: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    counts = backup(place, file, NOBODY, force=False)
    assert counts["tokens"] == 3
    assert counts["spend"] == PAGE + 3
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == ["backup.db"]
    saved = StoreLocation.of(file)
    assert dump(saved) == dump(place)
    assert KEY.encode() not in file.read_bytes()
    assert failed(saved) == {}
    with pytest.raises(Conflict, match="--force"):
        backup(place, file, NOBODY, force=False)
    backup(place, file, NOBODY, force=True)


def test_a_restored_store_is_seen_at_once(place: StoreLocation, full: str, tmp_path: Path) -> None:
    """By proxies that have another one in memory, although it has the same tokens."""
    file = tmp_path / "backup.db"
    backup(place, file, NOBODY, force=False)
    before = dump(place)
    store = TokenStore.open(place)
    lookup = lookup_of(place)
    try:
        for token in store.list_tokens():
            store.revoke_token(token.id)
        _, later = store.create_token("acme")
        let_it_hold(place)
        revoked = found(lookup, full)
        assert revoked
        assert not revoked.token.active
        assert found(lookup, later.reveal())
        with pytest.raises(Conflict, match="--force"):
            restore(file, place, NOBODY, force=False)
        restore(file, place, NOBODY, force=True)
        let_it_hold(place)
        again = found(lookup, full)
        assert again
        assert again.token.active
        assert found(lookup, later.reveal()) is None
        assert dump(place) == before
        assert failed(place) == {}
        store.create_token("acme")
    finally:
        lookup.close()
        store.close()


def test_a_copy_on_each_other_engine(
    place: StoreLocation, full: str, databases: Databases, tmp_path: Path
) -> None:
    for kind in ENGINES:
        if kind != place.kind:
            target = StoreLocation.of(tmp_path / "copy.db" if kind == "sqlite" else databases.url(kind))
            copy_and_use(place, target, full)
            assert dump(target) == dump(place)


def copy_and_use(place: StoreLocation, target: StoreLocation, full: str) -> None:
    told: list[tuple[str, int, int]] = []
    copy(place, target, NOBODY, force=False, tell=lambda *each: told.append(each))
    assert failed(target) == {}
    assert ("spend", PAGE, PAGE + 3) in told
    assert ("spend", PAGE + 3, PAGE + 3) in told
    lookup = lookup_of(target)
    grant = found(lookup, full)
    lookup.close()
    assert grant
    assert grant.token.metadata == {"team": "ä"}
    with pytest.raises(Conflict, match="--force"):
        copy(place, target, NOBODY, force=False)


def test_a_backup_under_load_is_of_one_moment(place: StoreLocation, full: str, tmp_path: Path) -> None:
    """Each transaction is in it, or is not."""
    ended = threading.Event()

    def write() -> None:
        connection = engine_of(place).connect()
        number = 0
        while not ended.is_set():
            number += 1
            with connection.transaction():
                for subject in ("left", "right"):
                    key = {"subject": subject, "period": "hour", "starts_at": number % 50}
                    add_row(connection, "spend", key, NUMBERS)
        connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for attempt in range(3):
            backup(place, tmp_path / f"{attempt}.db", NOBODY, force=False)
    finally:
        ended.set()
        thread.join(30)
    for attempt in range(3):
        with closing(sqlite3.connect(tmp_path / f"{attempt}.db")) as connection:
            sides = connection.execute(
                "SELECT subject, starts_at, tokens FROM spend WHERE subject <> 's' ORDER BY 2, 3, 1"
            ).fetchall()
        assert [row[1:] for row in sides[::2]] == [row[1:] for row in sides[1::2]]


def run(place: StoreLocation, *statements: str) -> None:
    connection: Connection = engine_of(place).connect()
    for statement in statements:
        connection.run(statement)
    connection.close()


def test_what_a_check_finds(
    place: StoreLocation, full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "before.db"
    backup(place, file, NOBODY, force=False)
    if place.path:
        run(
            place,
            "PRAGMA foreign_keys = OFF",
            "UPDATE tokens SET project_id = 'nobody'",
            "DROP TRIGGER revision_tokens_update",
        )
        wrong = failed(place)
        assert "3 tokens have no project" in wrong.pop("references")
        assert "proxies would not see" in wrong.pop("revision")
        assert wrong == {}
        restore(file, place, NOBODY, force=True)
    run(place, "UPDATE audit SET action = 'nothing.happened' WHERE seq = 2")
    assert "row 2: changed" in failed(place)["audit"]
    monkeypatch.setenv(master_key.VARIABLE, base64.b64encode(b"x" * 32).decode())
    assert "the master key is wrong" in failed(place)["keys"]


def test_what_is_no_backup(tmp_path: Path) -> None:
    target = StoreLocation.of(tmp_path / "store.db")
    with pytest.raises(NotFound, match=r"typo\.db"):
        restore(tmp_path / "typo.db", target, NOBODY, force=True)
    notes = tmp_path / "notes.db"
    notes.write_text("not a database, and longer than the header of one" * 100)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    for file in (notes, other):
        with pytest.raises(StoreError, match=file.name):
            restore(file, target, NOBODY, force=True)
    assert not target.exists()


def test_a_damaged_store_is_put_aside(path: Path, store: TokenStore, full: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    backup(store.location, file, NOBODY, force=False)
    store.close()
    path.write_bytes(b"damage" * 5000)
    with pytest.raises(Conflict, match="--force"):
        restore(file, store.location, NOBODY, force=False)
    restore(file, store.location, NOBODY, force=True)
    assert failed(store.location) == {}
    assert [found.read_bytes()[:6] for found in path.parent.glob("store.db.damaged-*")] == [b"damage"]

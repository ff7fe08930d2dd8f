"""The write-ahead log of a SQLite store does not stay at its peak."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from store.database.location import StoreLocation
from store.database.sqlite.engine import SqliteEngine
from store.database.sqlite.files import WAL_BYTES, wal_bytes
from store.tokens.store import TokenStore
from store.upkeep.check import Finding, check


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    TokenStore.open(path).close()
    return path


def grow(engine: SqliteEngine, count: int = 12) -> None:
    """Write a megabyte at a time."""
    with closing(engine.connect()) as writer:
        for _ in range(count):
            writer.insert("projects", [_row(number) for number in range(250)])
            writer.run("DELETE FROM projects")


def _row(number: int) -> dict[str, object]:
    text = {"id": str(number), "name": f"{number} {'x' * 4000}", "api_key": "env:NONE", "active": 0}
    return {**text, "created_at": "", "updated_at": ""}


def wal(place: Path) -> Finding:
    return next(each for each in check(StoreLocation.of(place)) if each.check == "wal")


def test_a_long_reader_is_waited_for_and_then_the_log_is_cut_down(place: Path) -> None:
    engine = SqliteEngine(place)
    with closing(engine.connect()) as reader, closing(engine.connect()) as kept:
        with reader.snapshot():
            reader.rows("SELECT count(*) FROM projects")
            grow(engine)
            assert wal_bytes(place) > WAL_BYTES
            engine.tidy()  # waits for nobody
            assert wal_bytes(place) > WAL_BYTES
            found = wal(place)
            assert not found.ok
            assert "wait for a reader" in found.detail
        engine.tidy()
        assert wal_bytes(place) == 0
        assert wal(place).ok
        assert kept.rows("SELECT count(*) AS n FROM projects") == [{"n": 0}]


def test_writing_goes_on_in_a_log_of_its_limit(place: Path) -> None:
    """Without anybody who tidies up: the next round of the log begins with cutting it down."""
    engine = SqliteEngine(place)
    with closing(engine.connect()) as kept:
        with kept.snapshot():
            kept.rows("SELECT count(*) FROM projects")
            grow(engine)
        peak = wal_bytes(place)
        assert peak > 2 * WAL_BYTES
        grow(engine, 1)
        grow(engine, 1)
        assert wal_bytes(place) <= WAL_BYTES < peak

"""What every engine does alike."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from store.core.errors import Conflict, NotFound, StoreError, StoreUnavailable
from store.database.engine import Connection, Engine
from store.database.engines import engine_of

PROJECT = {"api_key": "env:KEY", "active": 1, "created_at": "now", "updated_at": "now"}


def project(name: str) -> dict[str, object]:
    return {"id": name, "name": name, **PROJECT}


def names(connection: Connection) -> list[str]:
    return [row["name"] for row in connection.rows("SELECT name FROM projects ORDER BY name")]


def test_rows(connection: Connection) -> None:
    connection.insert("projects", [project(name) for name in "abc"])
    connection.insert("projects", [])
    assert connection.rows("SELECT id, active FROM projects WHERE name = :name", name="b") == [
        {"id": "b", "active": 1}
    ]
    assert connection.rows("SELECT id FROM projects WHERE name IN :names", names=["c", "a", "x"]) != []
    assert connection.rows("SELECT id FROM projects WHERE name IN :names", names=[]) == []
    assert connection.run("UPDATE projects SET active = 0 WHERE name IN :names", names=("a", "c")) == 2
    assert connection.run("UPDATE projects SET active = 0 WHERE name = :name", name="a") == 1, "found"
    assert connection.run("UPDATE projects SET active = 0 WHERE name = :name", name="x") == 0


def test_names_are_compared_byte_by_byte(connection: Connection) -> None:
    connection.insert("projects", [project(name) for name in ("b", "a", "B", "ä", "A", "a ")])
    assert names(connection) == ["A", "B", "a", "a ", "b", "ä"]
    assert len(connection.rows("SELECT id FROM projects WHERE name = :name", name="a")) == 1


def test_a_transaction_is_whole_or_not_at_all(connection: Connection) -> None:
    with pytest.raises(Conflict), connection.transaction():  # noqa: PT012 - what came before the error counts
        connection.insert("projects", [project("a")])
        with connection.transaction():
            connection.insert("projects", [project("b")])
        assert names(connection) == ["a", "b"]
        connection.insert("projects", [project("b")])
    assert names(connection) == []
    with connection.transaction(), connection.transaction():
        connection.insert("projects", [project("a")])
    assert names(connection) == ["a"]


def test_errors(connection: Connection) -> None:
    connection.insert("projects", [project("a")])
    with pytest.raises(Conflict):
        connection.insert("projects", [project("b"), project("a")])
    assert names(connection) == ["a"]
    with pytest.raises(StoreError) as raised:
        connection.run("INSERT INTO nowhere VALUES (1)")
    assert not isinstance(raised.value, Conflict)
    assert names(connection) == ["a"], "goes on after an error"


def test_add(connection: Connection) -> None:
    for amount in (5, 7):
        connection.add("revision", ["id"], [{"id": 9, "number": amount}, {"id": 10, "number": 1}])
    connection.add("revision", ["id"], [])
    rows = connection.rows("SELECT id, number FROM revision WHERE id > 1 ORDER BY id")
    assert rows == [{"id": 9, "number": 12}, {"id": 10, "number": 2}]


def test_a_lock_keeps_others_out(engine: Engine, connection: Connection) -> None:
    order: list[str] = []
    taken = threading.Event()

    def second() -> None:
        other = engine.connect()
        taken.wait(20)
        with other.transaction():
            other.lock("place")
            order.append("second")
        other.close()

    thread = threading.Thread(target=second)
    thread.start()
    with connection.transaction():
        connection.lock("place")
        taken.set()
        thread.join(0.3)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "typo.db")
    with pytest.raises(NotFound):
        engine.prepare(create=False)
    with pytest.raises(StoreUnavailable):
        engine.connect()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_replaced(path: Path, engine: Engine, connection: Connection) -> None:
    assert connection.is_current()
    aside = path.with_suffix(".aside")
    path.rename(aside)
    assert not connection.is_current()
    aside.rename(path)
    assert connection.is_current()

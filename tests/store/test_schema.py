"""One schema on all engines, whichever version it comes from."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from store.core.errors import NotFound, StoreError
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.database.schema import NEWEST, VERSIONS
from store.tokens.grants import revision
from store.tokens.store import TokenStore
from tests.store.earlier_schemas import make_earlier, steps
from tests.store.engines import DRIVERS, SERVERS, server

KEY = "sk-live-1234567890"
NOW = "2026-05-01T00:00:00.000Z"
OWN = {"_sqlite_migrations", "sqlite_sequence", "alembic_version", "store_locks"}
"""Tables that an engine needs for itself."""

Shape = dict[str, dict[str, Any]]


def shape(url: str) -> Shape:
    """Tables, their columns (text or number, optional or not), keys, and what they refer to."""
    for scheme, driver in DRIVERS.items():
        url = url.replace(f"{scheme}:", f"{driver}:")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        inspector = sqlalchemy.inspect(connection)
        return {
            table: {
                "columns": {
                    column["name"]: (
                        "number" if isinstance(column["type"], sqlalchemy.Integer) else "text",
                        bool(column["nullable"]) and column["name"] not in keys,
                    )
                    for column in inspector.get_columns(table)
                },
                "key": sorted(keys),
                "unique": sorted(
                    index["column_names"] for index in inspector.get_indexes(table) if index["unique"]
                ),
                "indexed": sorted(index["column_names"] for index in inspector.get_indexes(table)),
                "foreign": [
                    (key["constrained_columns"], key["referred_table"])
                    for key in inspector.get_foreign_keys(table)
                ],
            }
            for table in inspector.get_table_names()
            if table not in OWN
            for keys in [inspector.get_pk_constraint(table)["constrained_columns"]]
        }


@pytest.mark.parametrize("kind", SERVERS)
def test_the_schema_is_the_same_on_every_engine(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    engine_of(file).prepare()
    with server(kind).database() as url:
        engine_of(url).prepare()
        theirs = shape(url)
    assert theirs == shape(f"sqlite:///{file}")


EARLIER = [
    *(("sqlite", last) for last in steps("sqlite")),
    # On servers a step takes a second, and the way is the same for all.
    *((kind, last) for kind in SERVERS for last in ("m006_limits", "m009_objects", "m017_cache")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "last"), EARLIER)
def test_an_earlier_store_is_brought_up_to_date(kind: str, last: str, tmp_path: Path) -> None:
    """From every step on, of which the first one had no metadata, and keys in plain text."""
    if kind == "sqlite":
        place = str(tmp_path / "old.db")
        check_upgrade(kind, place, f"sqlite:///{place}", last)
    else:
        with server(kind).database() as url:
            check_upgrade(kind, url, url, last)


def check_upgrade(kind: str, place: str, url: str, last: str) -> None:
    make_earlier(kind, place, last)
    old = engine_of(place).connect()
    plain = list(VERSIONS).index(last) < list(VERSIONS).index("m004_key_schemes")
    key = KEY if plain else f"plain:{KEY}"
    project = {"id": "p", "name": "acme", "api_key": key, "active": 1}
    old.insert("projects", [{**project, "created_at": NOW, "updated_at": NOW}])
    token = {"id": "t", "sha256": "0" * 64, "prefix": "sk", "project_id": "p", "active": 1, "created_at": NOW}
    old.insert("tokens", [{**token, "request_count": 7}])
    old.close()
    store = TokenStore.open(place)
    assert store.api_key("acme").reveal() == KEY
    assert store.get_token("t").request_count == 7
    assert dict(store.get_token("t").metadata) == {}
    before = revision(store.connection)
    assert dict(store.update_token("t", metadata={"team": "search"}).metadata) == {"team": "search"}
    assert revision(store.connection) > before
    store.connection.run("UPDATE tokens SET request_count = 8, last_used_at = :now", now=NOW)
    assert revision(store.connection) == before + 1
    assert store.audit.verify().whole
    store.close()
    assert shape(url) == fresh_shape()
    if last != NEWEST:  # such a store has others to the same effect
        assert triggers(kind, place) == triggers_of_new(kind)


@cache
def fresh_shape() -> Shape:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "store.db")
        engine_of(file).prepare()
        return shape(f"sqlite:///{file}")


@cache
def triggers_of_new(kind: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        url = str(Path(folder, "store.db"))
        if kind != "sqlite":
            url = stack.enter_context(server(kind).database())
        engine_of(url).prepare()
        return triggers(kind, url)


def triggers(kind: str, place: str) -> list[str]:
    """What they are called, and on which tables they are; on SQLite the views, too."""
    connection = engine_of(place).connect()
    query = "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view')"
    if kind != "sqlite":
        schema = "current_schema()" if kind == "postgresql" else "database()"
        query = (
            "SELECT DISTINCT trigger_name AS name FROM information_schema.triggers "
            f"WHERE trigger_schema = {schema}"
        )
    found = sorted(row["name"] for row in connection.rows(query))
    connection.close()
    return found


def test_a_new_store_is_marked_with_every_version(path: Path) -> None:
    """So that an earlier llmproxy, which goes by them, takes it for one of its own, or for a newer one."""
    TokenStore.open(path).close()
    connection = engine_of(path).connect()
    marks = [row["name"] for row in connection.rows("SELECT name FROM _sqlite_migrations ORDER BY id")]
    connection.close()
    assert marks == list(VERSIONS)
    assert marks[-1] == NEWEST


def test_many_processes_may_make_the_same_store(place: StoreLocation, tmp_path: Path) -> None:
    code = "import sys; from store.tokens.store import TokenStore; TokenStore.open(sys.argv[1]).close()"

    def make(where: str) -> None:
        processes = [subprocess.Popen([sys.executable, "-c", code, where]) for _ in range(4)]
        assert [process.wait(60) for process in processes] == [0] * 4
        TokenStore.open(where, create=False).close()

    if place.path is not None:
        make(str(place))
    else:
        with server(place.kind).database() as url:
            make(url)


@pytest.mark.parametrize("kind", SERVERS)
def test_an_empty_database_holds_no_store(kind: str) -> None:
    with server(kind).database() as url, pytest.raises(NotFound, match="there is no token store at"):
        TokenStore.open(url, create=False)


def test_a_store_of_a_newer_version_is_refused(place: StoreLocation, tmp_path: Path) -> None:
    """And stays as it is: nothing is downgraded."""

    def refused(where: str | StoreLocation, statement: str) -> None:
        engine_of(where).prepare()
        connection = engine_of(where).connect()
        connection.run(statement)
        connection.close()
        for _ in range(2):
            with pytest.raises(StoreError, match=r"newer llmproxy \(schema step m999\)") as raised:
                TokenStore.open(where)
            assert "\n" not in str(raised.value)

    if place.path is not None:
        insert = (
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('llmproxy', 'm999', '')"
        )
        refused(place, insert)
    else:
        with server(place.kind).database() as url:
            refused(url, "UPDATE alembic_version SET version_num = 'm999'")


def test_a_step_that_was_cut_off_is_done_again() -> None:
    """MySQL can't undo changes of a schema."""
    with server("mysql").database() as url:
        engine_of(url).prepare()
        connection = engine_of(url).connect()
        connection.run("DELETE FROM alembic_version")
        connection.run("DROP TABLE objects")
        connection.run("ALTER TABLE tokens DROP COLUMN header_metadata")
        connection.close()
        engine_of(url).prepare()
        store = TokenStore.open(url)
        assert store.list_projects() == []
        store.close()

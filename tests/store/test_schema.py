"""One schema on all engines, whichever version it comes from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlite_utils import Database

from store.database import connect, create
from store.engine import engine_of
from store.errors import NotFound, StoreError
from store.location import StoreLocation
from store.migrations import migrations
from store.tokens import TokenStore
from tests.store.engines import SERVERS, server

KEY = "sk-live-1234567890"
NOW = "2026-05-01T00:00:00.000Z"
STEPS = [step.name for step in migrations._migrations]
OWN = {"_sqlite_migrations", "sqlite_sequence", "alembic_version", "store_locks"}
"""Tables that an engine needs for itself."""

Shape = dict[str, dict[str, Any]]


def shape(url: str) -> Shape:
    """Tables, their columns (text or number, optional or not), keys, and what they refer to."""
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
    """After a new step in store/migrations.py: add its counterpart in store/server/versions."""
    file = tmp_path / "store.db"
    engine_of(file).prepare()
    with server(kind).database() as url:
        engine_of(url).prepare()
        theirs = shape(url.replace("postgresql:", "postgresql+psycopg:").replace("mysql:", "mysql+pymysql:"))
    assert theirs == shape(f"sqlite:///{file}")


def test_a_store_is_upgraded_from_every_step(path: Path) -> None:
    """From the first one, which had no metadata, and keys in plain text."""
    for number, step in enumerate([*STEPS[1:], None]):
        file = path.with_name(f"{number}.db")
        create(file)
        old = Database(connect(file))
        migrations.apply(old, stop_before=step)
        key = KEY if number < STEPS.index("m004_key_schemes") else f"plain:{KEY}"
        project = {"id": "p", "name": "acme", "api_key": key, "active": 1}
        old.table("projects").insert({**project, "created_at": NOW, "updated_at": NOW})
        old.table("tokens").insert(
            {"id": "t", "sha256": "0" * 64, "prefix": "sk", "project_id": "p", "active": 1, "created_at": NOW}
        )
        assert ("metadata" in old["tokens"].columns_dict) == (number >= 1)
        old.close()
        store = TokenStore.open(file)
        assert store.api_key("acme").reveal() == KEY
        assert dict(store.get_token("t").metadata) == {}
        assert dict(store.update_token("t", metadata={"team": "search"}).metadata) == {"team": "search"}
        store.close()
        assert shape(f"sqlite:///{file}") == shape(f"sqlite:///{path.with_name('0.db')}")


def test_many_processes_may_make_the_same_store(place: StoreLocation, tmp_path: Path) -> None:
    code = "import sys; from store.tokens import TokenStore; TokenStore.open(sys.argv[1]).close()"

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

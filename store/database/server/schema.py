"""Makes the tables of a store on a server, and brings an earlier one up to date.

Each step can be done again after it was cut off half-way: MySQL can't undo changes of its schema.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from store.core.errors import NotFound, StoreError, StoreUnavailable
from store.database import schema
from store.database.schema import NEWEST, TABLES, VERSIONS, Column, Table
from store.database.server.dialects import SCHEMA_SECONDS, Dialect

STEP_SECONDS = 600.0
"""Longest time for one statement: an index over a million rows takes its time."""
VERSION_TABLE = "alembic_version"
"""As Alembic laid it out, which made the tables of earlier versions."""


def prepare(engine: sa.Engine, dialect: Dialect, where: str, *, create: bool) -> None:
    """Bring the schema up.

    Raises NotFound for an empty database, unless it is to be filled; StoreError for a newer schema.
    """
    with engine.connect() as connection:
        if _needs_work(connection, where, create=create):
            # Of two processes that start together one does the work, and the other waits for it.
            with connection.begin():
                if not dialect.lock_schema(connection):
                    raise StoreUnavailable(
                        f"{where}: another process has been changing the schema for {SCHEMA_SECONDS} s."
                    )
            if _needs_work(connection, where, create=create):
                with connection.begin():
                    _upgrade(connection)
        # The lock ends with the connection.


def _needs_work(connection: sa.Connection, where: str, *, create: bool) -> bool:
    with connection.begin():
        present = _version(connection)
    if present is None and not create:
        raise NotFound(f"there is no token store at {where}; correct the name, or restore a backup.")
    if present is not None and present not in VERSIONS:
        raise StoreError(
            f"{where} was made by a newer llmproxy (schema step {present}); update this one, "
            "or restore a backup from before."
        )
    return present != NEWEST


def _version(connection: sa.Connection) -> str | None:
    """Give the last one that the store has been through; None for an empty database."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608


def _upgrade(connection: sa.Connection) -> None:
    """Add what is missing."""
    present = _version(connection)
    if _is_mysql(connection):
        _complete(connection, Table("store_locks", [schema.text("name")], ["name"]), sa.MetaData())
    else:
        connection.exec_driver_sql(
            "CREATE OR REPLACE FUNCTION raise_revision() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN UPDATE revision SET number = number + 1; RETURN NULL; END $$"
        )
    metadata = sa.MetaData()
    for table in TABLES:
        _complete(connection, table, metadata)
    for table in TABLES:
        if table.raises_revision:
            _make_triggers(connection, table)
    if present is not None:
        for name in schema.pending(list(VERSIONS)[: list(VERSIONS).index(present) + 1]):
            for statement in VERSIONS[name]:
                connection.execute(sa.text(statement))
    _mark(connection, NEWEST)


def _complete(connection: sa.Connection, table: Table, metadata: sa.MetaData) -> None:
    inspector = sa.inspect(connection)
    wanted = _as_sqlalchemy(connection, table, metadata)
    if not inspector.has_table(table.name):
        connection.execute(CreateTable(wanted))
        inspector = sa.inspect(connection)
    columns = {found["name"] for found in inspector.get_columns(table.name)}
    for column in wanted.columns:
        if column.name not in columns:
            written = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {written}")
    indexes = [found["column_names"] for found in inspector.get_indexes(table.name)]
    for index in wanted.indexes:
        if [column.name for column in index.columns] not in indexes:
            connection.execute(CreateIndex(index))
    for row in table.rows:
        if connection.execute(sa.select(wanted).limit(1)).first() is None:
            connection.execute(wanted.insert(), dict(row))


def _as_sqlalchemy(connection: sa.Connection, table: Table, metadata: sa.MetaData) -> sa.Table:
    # Without padding: "a" is not "a ".
    mariadb = getattr(connection.dialect, "is_mariadb", False)
    keys = [
        sa.ForeignKeyConstraint([column], [f"{other}.id"]) for column, other in (table.refers or {}).items()
    ]
    found = sa.Table(
        table.name,
        metadata,
        *map(_column, table.columns),
        sa.PrimaryKeyConstraint(*table.key),
        *keys,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin",
    )
    for index in table.indexes:
        only = None if index.where is None else sa.text(index.where)
        name = f"idx_{table.name}_{'_'.join(index.columns)}"
        sa.Index(name, *(found.c[one] for one in index.columns), unique=index.unique, postgresql_where=only)
    return found


def _column(column: Column) -> sa.Column[Any]:
    kind: Any = sa.BigInteger()
    if column.kind == "text":
        # Compared byte by byte, as SQLite does.
        kind = sa.String(column.length).with_variant(sa.String(column.length, collation="C"), "postgresql")
    elif column.kind == "document":
        kind = sa.Text().with_variant(sa.Text(length=2**24 - 1), "mysql", "mariadb")
    written: str | None = None
    if column.default is not None:
        written = f"('{column.default}')" if isinstance(column.default, str) else str(column.default)
    return sa.Column(
        column.name,
        kind,
        nullable=column.null,
        server_default=None if written is None else sa.text(written),
        autoincrement=False,
    )


def _make_triggers(connection: sa.Connection, table: Table) -> None:
    """Make the triggers, anew where they are there already."""
    for event in ("INSERT", "DELETE", "UPDATE"):
        name = f"revision_{table.name}_{event.lower()}"
        watched = table.watched if event == "UPDATE" else []
        if _is_mysql(connection):
            same = " AND ".join(f"OLD.{one} <=> NEW.{one}" for one in watched)
            bump = "UPDATE revision SET number = number + 1"
            body = f"IF NOT ({same}) THEN {bump}; END IF" if watched else bump
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
            connection.exec_driver_sql(
                f"CREATE TRIGGER {name} AFTER {event} ON {table.name} FOR EACH ROW {body}"
            )
        else:
            of = f" OF {', '.join(watched)}" if watched else ""
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name} ON {table.name}")
            connection.exec_driver_sql(
                f"CREATE TRIGGER {name} AFTER {event}{of} ON {table.name} "
                "FOR EACH ROW EXECUTE FUNCTION raise_revision()"
            )


def _mark(connection: sa.Connection, name: str) -> None:
    """Note the version after all else: what was cut off is done again."""
    connection.exec_driver_sql(
        f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
    )
    connection.execute(sa.text(f"DELETE FROM {VERSION_TABLE}"))  # noqa: S608 - our own name
    connection.execute(sa.text(f"INSERT INTO {VERSION_TABLE} VALUES (:name)"), {"name": name})  # noqa: S608


def _is_mysql(connection: sa.Connection) -> bool:
    """Tell whether it is MySQL, or MariaDB."""
    return connection.dialect.name in ("mysql", "mariadb")

"""Makes the tables of a store in a SQLite file, and brings an earlier one up to date, by sqlite-utils."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence

from sqlite_utils import Database, Migrations
from sqlite_utils.db import Table as SqliteTable

from store.database.engine import quoted
from store.database.schema import MIGRATIONS, TABLES, VERSIONS, Index, Table
from store.database.sqlite.views import VIEWS

TYPES = {"text": str, "document": str, "number": int}
BUMP = "BEGIN UPDATE revision SET number = number + 1; END"


def _change_of(statements: Sequence[str]) -> Callable[[Database], None]:
    """Make the function of a version, which changes the rows from before; in a new store there are none."""

    def change(db: Database) -> None:
        for statement in statements:
            db.execute(statement)

    return change


migrations = Migrations(MIGRATIONS)
for _name, _statements in VERSIONS.items():
    migrations(name=_name)(_change_of(_statements))


def upgrade(connection: sqlite3.Connection) -> None:
    """Add what is missing. Within a transaction of the caller's."""
    db = Database(connection)
    for table in TABLES:
        _complete(db, table)
    for trigger in db.triggers:
        if trigger.name.startswith("revision_"):
            db.execute(f"DROP TRIGGER {trigger.name}")
    for statement in _triggers():
        db.execute(statement)
    for name, query in VIEWS.items():
        db.create_view(name, query, replace=True)
    migrations.apply(db)


def _complete(db: Database, table: Table) -> None:
    made = db.table(table.name)
    if not made.exists():
        _make(db, table)
    for column in table.columns:
        if column.name not in made.columns_dict:
            made.add_column(column.name, TYPES[column.kind], not_null_default=column.default)
    present = {tuple(index.columns) for index in made.indexes}
    for index in table.indexes:
        if tuple(index.columns) not in present:
            _add_index(db, made, index)


def _make(db: Database, table: Table) -> None:
    statement = db.create_table_sql(
        table.name,
        {column.name: TYPES[column.kind] for column in table.columns},
        pk=table.key[0] if len(table.key) == 1 else tuple(table.key),
        not_null={column.name for column in table.columns if not column.null},
        defaults={column.name: column.default for column in table.columns if column.default is not None},
        foreign_keys=[(column, other, "id") for column, other in (table.refers or {}).items()],
        strict=True,
    )
    # sqlite-utils makes none without a rowid.
    db.execute(f"{statement.rstrip().rstrip(';')}, WITHOUT ROWID" if table.clustered else statement)
    db.table(table.name).insert_all([dict(row) for row in table.rows])


def _add_index(db: Database, table: SqliteTable, index: Index) -> None:
    if index.where is None:
        table.create_index(index.columns, unique=index.unique)
        return
    # sqlite-utils makes none of a part of the rows.
    unique = "UNIQUE " if index.unique else ""
    name = f"idx_{table.name}_{'_'.join(index.columns)}"
    db.execute(f"CREATE {unique}INDEX {name} ON {table.name} ({quoted(index.columns)}) WHERE {index.where}")


def _triggers() -> Iterator[str]:
    for table in TABLES:
        if table.raises_revision:
            for event in ("INSERT", "DELETE", f"UPDATE OF {quoted(table.watched)}"):
                name = f"revision_{table.name}_{event.partition(' ')[0].lower()}"
                yield f"CREATE TRIGGER {name} AFTER {event} ON {table.name} {BUMP}"

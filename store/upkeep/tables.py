"""The tables of a store, as the steps of :mod:`store.migrations` make them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sqlite_utils import Database
from sqlite_utils.db import Table as SqliteTable

from store.migrations import migrations

FIRST = ("projects", "tokens")
"""What others refer to."""
LAST = "revision"
"""Triggers raise it with each row of the others; while it is empty they have nothing to do."""


@dataclass(frozen=True, slots=True)
class Table:
    """Its columns, and those of its key, by which it can be read page by page."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]


@cache
def tables() -> tuple[Table, ...]:
    """In an order in which they can be filled."""
    database = Database(memory=True)
    migrations.apply(database)
    names = [name for name in database.table_names() if not name.startswith(("_", "sqlite_"))]
    found = []
    for name in sorted(names, key=lambda name: (name == LAST, name not in FIRST, name)):
        table = database[name]
        assert isinstance(table, SqliteTable)
        found.append(Table(name, tuple(column.name for column in table.columns), tuple(table.pks)))
    database.close()
    return tuple(found)

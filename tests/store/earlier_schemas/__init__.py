"""Stores as earlier versions made them: the statements that they ran, a file for each engine."""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from tests.store.engines import server

NOPAD = "utf8mb4_nopad_bin", "utf8mb4_0900_bin"
"""MariaDB's and MySQL's."""


@cache
def steps(kind: str) -> dict[str, list[str]]:
    """The statements of each step, in the order in which that engine went through them."""
    found: dict[str, list[str]] = {}
    for line in Path(__file__).with_name(f"{kind}.sql").read_text().splitlines():
        if line.startswith("-- "):
            found[line.removeprefix("-- ")] = []
        else:
            found[list(found)[-1]].append(line)
    return found


def make_earlier(kind: str, place: str, last: str) -> None:
    """Make an empty store at `place`, a path or the URL of an empty database, as of the step `last`."""
    names = list(steps(kind))
    names = names[: names.index(last) + 1]
    statements = [statement for name in names for statement in steps(kind)[name]]
    if kind == "sqlite":
        db = sqlite3.connect(place, isolation_level=None)
        for statement in statements:
            db.execute(statement)
        db.execute(
            "CREATE TABLE _sqlite_migrations "
            "(id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT)"
        )
        rows = [("llmproxy", name, "2026-01-01") for name in names]
        db.executemany(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, ?)", rows
        )
        db.close()
        return
    with server(kind).connection(urlsplit(place).path[1:]) as connection:
        mysql = kind == "mysql" and not getattr(connection.dialect, "is_mariadb", False)
        if kind == "mysql":
            connection.exec_driver_sql("SET SESSION sql_mode = 'ANSI_QUOTES'")
        for statement in statements:
            connection.exec_driver_sql(statement.replace(*NOPAD) if mysql else statement)
        connection.exec_driver_sql(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
        )
        connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{last}')")

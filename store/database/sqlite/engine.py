"""Keep the store in a SQLite file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from store.core.errors import StoreUnavailable
from store.database.engine import BUSY_SECONDS, Known, Row, quoted, with_lists
from store.database.sqlite.files import (
    WAL_BYTES,
    connect,
    identify,
    prepare,
    translated,
    wal_bytes,
)

TIDY_SECONDS = 0.1
"""It says how long a checkpoint waits for readers, while no one else can write."""


class SqliteConnection:
    """Implements :class:`store.database.engine.Connection`."""

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self._path = path
        try:
            self._identity = identify(path)
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from error
        self._database = connect(path, busy_seconds=busy_seconds)
        # Transactions begin where we say so, not before whatever sqlite3 takes for a change.
        self._database.isolation_level = None

    def rows(self, sql: str, /, **values: Any) -> list[Row]:
        with translated(self._path):
            cursor = self._database.execute(*with_lists(sql, values))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def each(self, sql: str, /, **values: Any) -> Iterator[Row]:
        with translated(self._path):
            cursor = self._database.execute(*with_lists(sql, values))
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield dict(zip(names, row, strict=True))

    def run(self, sql: str, /, **values: Any) -> int:
        with translated(self._path):
            return self._database.execute(*with_lists(sql, values)).rowcount

    def insert(self, table: str, rows: Sequence[Row], *, known: Known = "refuse") -> None:
        if not rows:
            return
        names = list(rows[0])
        marks = ", ".join(f":{name}" for name in names)
        with self.transaction(), translated(self._path):
            self._database.executemany(
                f"INSERT INTO {table} ({quoted(names)}) VALUES ({marks})"  # noqa: S608 - of our own names
                f"{' ON CONFLICT DO NOTHING' if known == 'skip' else ''}",
                rows,
            )

    def add(self, table: str, key: Sequence[str], rows: Sequence[Row]) -> None:
        if not rows:
            return
        columns = list(rows[0])
        marks = ", ".join(f":{name}" for name in columns)
        sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in columns if name not in key)
        with self.transaction(), translated(self._path):
            self._database.executemany(
                f"INSERT INTO {table} ({quoted(columns)}) VALUES ({marks}) "  # noqa: S608 - of our own names
                f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sums}",
                rows,
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._database.in_transaction:
            yield
            return
        with translated(self._path):
            # IMMEDIATE: what is read in it can't be changed by another before it is written.
            self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            with translated(self._path):
                self._database.execute("COMMIT")
        except BaseException:
            with translated(self._path):
                self._database.rollback()
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with translated(self._path):
            self._database.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            self._database.rollback()

    def lock(self, name: str) -> None:  # noqa: ARG002 - the transaction excludes all other writers
        assert self._database.in_transaction

    def wipe(self, table: str) -> None:  # noqa: ARG002 - all tables are in one file
        """Overwrite free pages and the WAL, where deleted rows still are."""
        self.run("VACUUM")
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def data_version(self) -> int:
        """Give another number once another connection has committed.

        It is a look at shared memory, in microseconds.
        """
        with translated(self._path):
            return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def is_current(self) -> bool:
        with suppress(OSError):
            return identify(self._path) == self._identity
        return False

    def close(self) -> None:
        self._database.close()


class SqliteEngine:
    """Implements :class:`store.database.engine.Engine`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = str(path)

    def prepare(self, *, create: bool = True) -> None:
        prepare(self._path, create_missing=create)

    def tidy(self) -> None:
        if wal_bytes(self._path) <= WAL_BYTES:
            return
        connection = self.connect(busy_seconds=TIDY_SECONDS)
        try:
            connection.rows("PRAGMA wal_checkpoint(TRUNCATE)")  # where a reader is in the way, the next time
        finally:
            connection.close()

    def connect(self, *, busy_seconds: float = BUSY_SECONDS) -> SqliteConnection:
        return SqliteConnection(self._path, busy_seconds)

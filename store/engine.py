"""The interface to the database of the store, whatever it is.

SQL is written once, in what SQLite, PostgreSQL, MySQL and MariaDB have in common:

- values are ``:name`` parameters, and ``IN :name`` takes a list; no colon before a letter in a literal;
- columns that are words of SQL somewhere (`before`, `count`) are quoted: ``"before"``;
- flags are the numbers 0 and 1, and compared: ``active = 1``;
- no ``max(a, b)`` of two values, no ``RETURNING``, no functions of JSON or time: ``CASE``, or Python;
- no ``:name IS NULL``: PostgreSQL can't tell the type of such a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from store.errors import StoreError
from store.location import Place, StoreLocation

Row = Mapping[str, Any]

BUSY_SECONDS = 10.0
"""How long a writer waits for another process's transaction."""


class Connection(Protocol):
    """For one thread at a time. Without :meth:`transaction` each statement is one of its own.

    Raises StoreUnavailable where trying again may help, Conflict for a key that exists already, StoreError.
    """

    def rows(self, sql: str, /, **values: Any) -> list[Row]: ...

    def run(self, sql: str, /, **values: Any) -> int:
        """The number of rows that were found and written."""
        ...

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """All of them or none; the first one's columns are those of all."""
        ...

    def add(self, table: str, key: Row, amounts: Row) -> None:
        """Add to the numbers of the row with this key, or make it."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction that writes. Inside another one it is part of that.

        After an error the outermost one must be left, too: what was done in it may be gone.
        """
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """A transaction that only reads, and sees no change that is made after its first statement."""
        ...

    def lock(self, name: str) -> None:
        """Within a transaction: wait until no other process holds `name`, and hold it until the end."""
        ...

    def wipe(self, table: str) -> None:
        """Write the table's file anew, so that nothing is left of values that were overwritten."""
        ...

    def is_current(self) -> bool:
        """Whether this leads to the database that is there now, and not to a file that was replaced."""
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    """A database that may hold a store; made by :func:`engine_of`, which connects to nothing."""

    where: str
    """For messages: the path, or the URL without its password."""

    def prepare(self, *, create: bool = True) -> None:
        """Bring the schema up to date; `create` makes a missing file. Raises NotFound or StoreError."""
        ...

    def connect(self, *, busy_seconds: float = BUSY_SECONDS) -> Connection:
        """To a store that is there. Raises StoreUnavailable."""
        ...


def engine_of(place: Place) -> Engine:
    """The engine for a path, or for a URL. Raises Invalid."""
    from store.sqlite_engine import SqliteEngine  # noqa: PLC0415 - it needs the above

    location = StoreLocation.of(place)
    if location.path is not None:
        return SqliteEngine(location.path)
    try:
        from store.server.engine import ServerEngine  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise StoreError(
            f"store {str(location)!r} needs SQLAlchemy and a driver: install llmproxy[{location.kind}]."
        ) from error
    return ServerEngine(location)


def quoted(names: Sequence[str]) -> str:
    """Columns, of which some are words of SQL to some engine."""
    return ", ".join(f'"{name}"' for name in names)


def with_lists(sql: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """``IN :name`` with a parameter for each value of a list; for an empty one NULL, which nothing equals."""
    for name, value in list(values.items()):
        if isinstance(value, list | tuple | set | frozenset):
            del values[name]
            single = {f"{name}_{number}": one for number, one in enumerate(value)}
            values |= single
            marks = ", ".join(f":{one}" for one in single) or "NULL"
            sql = re.sub(rf":{name}\b", f"({marks})", sql)
    return sql, values

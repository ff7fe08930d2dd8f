"""Define the interface to the database of the store, whatever it is.

SQL is written once, in what SQLite, PostgreSQL, MySQL and MariaDB have in common:

- values are ``:name`` parameters, and ``IN :name`` takes a list; no colon before a letter in a literal;
- columns that are words of SQL somewhere (`before`, `count`) are quoted: ``"before"``;
- flags are the numbers 0 and 1, and compared: ``active = 1``;
- no ``max(a, b)`` of two values, no ``RETURNING``, no functions of JSON or time: ``CASE``, or Python;
- no ``:name IS NULL``: PostgreSQL can't tell the type of such a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, Literal, Protocol

Row = Mapping[str, Any]
Known = Literal["refuse", "skip"]

BUSY_SECONDS = 10.0
"""It says how long a writer waits for another process's transaction."""
ANSWER_SECONDS = 3.0
"""The longest that a call of a client waits for a store that does not answer, all its questions together."""
CALL_BUSY_SECONDS = 1.5
"""It says how long what calls wait for waits in turn, so that the answer is there within ANSWER_SECONDS."""


class Connection(Protocol):
    """Serves one thread at a time. Without :meth:`transaction` each statement is one of its own.

    Raises StoreUnavailable where trying again may help, Conflict for a key that exists already, StoreError.
    """

    def rows(self, sql: str, /, **values: Any) -> list[Row]: ...

    def each(self, sql: str, /, **values: Any) -> Iterator[Row]:
        """Give the rows one by one: they need not fit into memory. (Those of a server the driver holds.)

        Until the last one is read, SQLite keeps the present state of the database beside what is written.
        """
        ...

    def run(self, sql: str, /, **values: Any) -> int:
        """Give the number of rows that were found and written."""
        ...

    def insert(self, table: str, rows: Sequence[Row], *, known: Known = "refuse") -> None:
        """Insert all of them or none; the first one's columns are those of all.

        `known`: what becomes of a row whose key is there already: all are refused, or it is skipped.
        """
        ...

    def add(self, table: str, key: Sequence[str], rows: Sequence[Row]) -> None:
        """Add to the numbers of rows, or make those that are not there.

        Each of `rows` has the columns of `key`, and numbers; the first one's columns are those of all.
        """
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Give a transaction that writes. Inside another one it is part of that.

        After an error the outermost one must be left, too: what was done in it may be gone.
        """
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """Give a transaction that only reads, and sees no change that is made after its first statement."""
        ...

    def lock(self, name: str) -> None:
        """Wait, within a transaction, until no other process holds `name`, and hold it until the end."""
        ...

    def wipe(self, table: str) -> None:
        """Write the table's file anew, so that nothing is left of values that were overwritten."""
        ...

    def is_current(self) -> bool:
        """Tell whether this leads to the database that is there now, and not to a file that was replaced."""
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    """Opens a database that may hold a store; chosen by :func:`store.database.engines.engine_of`."""

    where: str
    """For messages: the path, or the URL without its password."""

    def prepare(self, *, create: bool = True) -> None:
        """Bring the schema up to date; `create` makes a missing file. Raises NotFound or StoreError."""
        ...

    def tidy(self) -> None:
        """Give back disk space that is not needed any more, as far as nobody has to wait for it. Raises
        StoreError."""
        ...

    def connect(self, *, busy_seconds: float = BUSY_SECONDS) -> Connection:
        """Connect to a store that is there. Raises StoreUnavailable."""
        ...


def quoted(names: Sequence[str]) -> str:
    """Quote columns, of which some are words of SQL to some engine."""
    return ", ".join(f'"{name}"' for name in names)


def with_lists(sql: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Write ``IN :name`` with a parameter for each value of a list.

    For an empty list it is NULL, which nothing equals.
    """
    lists = {
        name: value for name, value in values.items() if isinstance(value, list | tuple | set | frozenset)
    }
    if not lists:
        return sql, values
    single = {name: value for name, value in values.items() if name not in lists}
    for name, value in lists.items():
        single |= {f"{name}_{number}": one for number, one in enumerate(value)}
    return _with_marks(sql, tuple((name, len(value)) for name, value in lists.items())), single


@lru_cache(1024)
def _with_marks(sql: str, lengths: tuple[tuple[str, int], ...]) -> str:
    for name, length in lengths:
        marks = ", ".join(f":{name}_{number}" for number in range(length)) or "NULL"
        sql = re.sub(rf":{name}\b", f"({marks})", sql)
    return sql

"""Copy all rows of one store into another: a snapshot of the one, in one transaction of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from store.audit.log import LOCK, AuditLog, Entry
from store.core.errors import Conflict
from store.database.engine import Connection, Row, quoted
from store.database.schema import TABLES, Table
from store.tokens import grants

PAGE = 500

Tell = Callable[[str, int, int], None]
"""Called with a table, the rows that are copied, and those that there are."""


def say_nothing(table: str, done: int, total: int) -> None:
    """Do nothing, for who does not want to know."""


def transfer(
    source: Connection,
    target: Connection,
    log: AuditLog,
    entry: Entry,
    *,
    force: bool,
    tell: Tell = say_nothing,
) -> dict[str, int]:
    """Copy everything, and note it in the target's audit log. Returns the number of rows of each table.

    Raises Conflict where the target has rows of its own, unless `force` says that they may go. Proxies on the
    target see all of it at once.
    """
    counts: dict[str, int] = {}
    with source.snapshot(), target.transaction():
        for lock in (LOCK, "project_keys"):
            target.lock(lock)
        if not force:
            refuse_unless_empty(target)
        newest = max(grants.revision(source), grants.revision(target))
        for table in reversed(TABLES):
            target.run(f"DELETE FROM {table.name}")  # noqa: S608 - our own names
        for table in TABLES:
            total = count(source, table)
            tell(table.name, 0, total)
            counts[table.name] = 0
            for page in pages(source, table):
                target.insert(table.name, page)
                counts[table.name] += len(page)
                tell(table.name, counts[table.name], total)
        # Another one than any that a proxy may have in memory.
        target.run("UPDATE revision SET number = :number", number=newest + 1)
        log.add(entry)
    return counts


def refuse_unless_empty(target: Connection) -> None:
    """Raise Conflict for a store that somebody uses."""
    for name in ("projects", "audit"):
        if target.rows(f"SELECT 1 FROM {name} LIMIT 1"):  # noqa: S608 - our own names
            raise Conflict("the target holds a store already; --force replaces all that is in it.")


def count(connection: Connection, table: Table) -> int:
    """Count its rows."""
    return int(connection.rows(f"SELECT COUNT(*) AS number FROM {table.name}")[0]["number"])  # noqa: S608


def pages(connection: Connection, table: Table) -> Iterator[list[Row]]:
    """Give all rows in the order of the key, so that no more than a page is in memory."""
    order = quoted(table.key)
    last: Row | None = None
    while True:
        beyond, values = ("", {}) if last is None else _beyond(table.key, last)
        rows = connection.rows(
            f"SELECT {quoted(table.names)} FROM {table.name} {beyond} ORDER BY {order} LIMIT {PAGE}",  # noqa: S608
            **values,
        )
        if rows:
            yield rows
        if len(rows) < PAGE:
            return
        last = rows[-1]


def _beyond(key: Sequence[str], last: Row) -> tuple[str, dict[str, Any]]:
    """Write ``WHERE (a, b) > (:a, :b)`` so that every engine uses the key's index."""
    choices = [
        " AND ".join([*(f'"{same}" = :{same}' for same in key[:place]), f'"{name}" > :{name}'])
        for place, name in enumerate(key)
    ]
    return f"WHERE ({') OR ('.join(choices)})", {name: last[name] for name in key}

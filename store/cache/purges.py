"""Order purges in the store (table ``cache_purges``), for every proxy on it to carry out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import ceil

from store.audit.log import AuditLog
from store.cache.entry import LONGEST_LIFETIME
from store.cache.purge import Purge
from store.database.engine import Connection, Engine, Row

COLUMNS = "number, at, project_id, cache_key, method, target, beginning"


def order(connection: Connection, audit: AuditLog, purge: Purge) -> None:
    """Put a purge down, in the audit log as well. Raises StoreError.

    It stays as long as anything can be kept that it is about: a cache may outlive its proxies.
    """
    with audit.change("cache.purge") as change:
        change.about(project_id=purge.project_id)
        (row,) = connection.rows("SELECT MAX(number) AS last FROM cache_purges")
        connection.run(
            "DELETE FROM cache_purges WHERE at < :before",
            before=ceil((time.time() - 2 * LONGEST_LIFETIME) * 1000),
        )
        connection.insert("cache_purges", [_row((row["last"] or 0) + 1, purge)])
        told = {"key": purge.key, "method": purge.method, "target": purge.target, "prefix": purge.prefix}
        change.note(None, {name: value for name, value in told.items() if value} or {"all": True})


def _row(number: int, purge: Purge) -> Row:
    return {
        "number": number,
        "at": ceil(purge.until * 1000),
        "project_id": purge.project_id,
        "cache_key": purge.key,
        "method": purge.method,
        "target": purge.target,
        "beginning": int(purge.prefix),
    }


class OrderedPurges:
    """Reads the purges that are new; for one thread. A store that is away raises StoreError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._last = 0

    def new(self) -> Sequence[Purge]:
        """Return what was ordered since this was called last; the first time all there is."""
        try:
            if self._connection is None or not self._connection.is_current():
                self.close()
                self._connection = self._engine.connect()
            rows = self._connection.rows(
                f"SELECT {COLUMNS} FROM cache_purges WHERE number > :last ORDER BY number",  # noqa: S608
                last=self._last,
            )
        except BaseException:
            self.close()
            raise
        if rows:
            self._last = rows[-1]["number"]
        return [_purge(row) for row in rows]

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()


def _purge(row: Row) -> Purge:
    return Purge(
        row["at"] / 1000,
        row["project_id"],
        row["cache_key"],
        row["method"],
        row["target"],
        bool(row["beginning"]),
    )

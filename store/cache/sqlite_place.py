"""Keep answers in a SQLite file of their own, for the proxies of one machine; they outlive a restart."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from store.cache.entry import Entry, decode, encode
from store.cache.purge import Purge

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    method TEXT NOT NULL,
    target TEXT NOT NULL,
    requested_at REAL NOT NULL,
    kept_until REAL NOT NULL,
    used_at INTEGER NOT NULL,
    size INTEGER NOT NULL,
    answer INTEGER NOT NULL,
    entry BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS answers_used_at ON answers (used_at);
CREATE INDEX IF NOT EXISTS answers_kept_until ON answers (kept_until);
"""
BUSY_SECONDS = 1.0
TIDY_SECONDS = 10.0
"""Between two looks at what is over and at the bounds."""
USED_SECONDS = 60
"""It says how exactly it is remembered when an answer was used: so reading seldom writes."""
PORTION = 100
"""Entries that are given up at a time."""


class SqlitePlace:
    """Works in the cache's thread. Opens the file when it is first used, and again after a failure."""

    def __init__(self, path: Path, most_entries: int, most_bytes: int) -> None:
        self._path, self._most_entries, self._most_bytes = path, most_entries, most_bytes
        self._connection: sqlite3.Connection | None = None
        self._tidied = 0.0

    def get(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return what is kept under these keys. Raises OSError."""
        now = int(time.time())
        found: dict[str, Entry] = {}
        with self._open() as connection:
            for key in keys:
                row = connection.execute(
                    "SELECT entry, used_at FROM answers WHERE key = ? AND kept_until > ?", (key, now)
                ).fetchone()
                if row is not None and (entry := decode(row[0])) is not None:
                    found[key] = entry
                    if row[1] < now - USED_SECONDS:
                        connection.execute("UPDATE answers SET used_at = ? WHERE key = ?", (now, key))
        return found

    def put(self, entries: Sequence[tuple[str, Entry]]) -> None:
        """Keep entries, each in place of what had its key. Raises OSError."""
        now = int(time.time())
        rows = [
            (
                *(key, entry.project_id, entry.method, entry.target, entry.requested_at, entry.kept_until()),
                *(now, entry.size, int(entry.varies is None), encode(entry)),
            )
            for key, entry in entries
        ]
        with self._open() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )

    def purge(self, purge: Purge) -> int:
        """Remove what fits; return how many answers that were. Raises OSError."""
        conditions: list[str] = ["requested_at <= ?"]
        values: list[object] = [purge.until]
        for column in ("project_id", "method", "key", "target"):
            if (value := getattr(purge, column)) is None:
                continue
            if purge.prefix and column in ("key", "target"):
                conditions.append(f"substr({column}, 1, ?) = ?")
                values += [len(value), value]
            else:
                conditions.append(f"{column} = ?")
                values.append(value)
        where = " AND ".join(conditions)
        with self._open() as connection:
            (answers,) = connection.execute(
                f"SELECT COUNT(*) FROM answers WHERE answer = 1 AND {where}",  # noqa: S608
                values,
            ).fetchone()
            connection.execute(f"DELETE FROM answers WHERE {where}", values)  # noqa: S608
        return int(answers)

    def tidy(self) -> None:
        """Give up what is over, and what was used longest ago where there is too much. Raises OSError."""
        if time.monotonic() - self._tidied < TIDY_SECONDS:
            return
        self._tidied = time.monotonic()
        with self._open() as connection:
            connection.execute("DELETE FROM answers WHERE kept_until <= ?", (time.time(),))
            while self._is_too_much(connection):
                connection.execute(
                    "DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY used_at LIMIT ?)",
                    (PORTION,),
                )

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(sqlite3.Error):
                connection.close()

    def _is_too_much(self, connection: sqlite3.Connection) -> bool:
        count, size = connection.execute("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM answers").fetchone()
        return bool(count > self._most_entries or size > self._most_bytes)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Give the connection, in a transaction. Errors of SQLite become OSError; then it is opened anew."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection:
                yield self._connection
        except sqlite3.Error as error:
            self.close()
            raise OSError(errno.EIO, str(error), str(self._path)) from error

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # what clients were told is nobody else's to read
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        # What a power failure takes is asked for again.
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(SCHEMA)
        return connection

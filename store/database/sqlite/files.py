"""Open the SQLite file, in one way for everything that opens it."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from store.core.errors import Conflict, NotFound, StoreError, StoreUnavailable
from store.core.private_files import make_folder
from store.database.engine import BUSY_SECONDS
from store.database.schema import MIGRATIONS, newer, pending

WAL_BYTES = 4 * 2**20
"""It is what the write-ahead log is cut down to once it has been taken into the file; it would stay at its
peak."""
EXISTS_ALREADY = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}


def connect(path: Path, *, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Give a connection to an existing file, usable from any one thread at a time.

    Raises StoreUnavailable.
    """
    try:
        # mode=rw: never make an empty file where the store should be.
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=rw",
            uri=True,
            timeout=busy_seconds,
            check_same_thread=False,
        )
        # WAL survives a killed process with NORMAL; only a power failure can undo the last commits.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    return connection


def wal_bytes(path: Path) -> int:
    """Give the size of the write-ahead log; 0 where there is none."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size
    except OSError:
        return 0


def identify(path: Path) -> tuple[int, int]:
    """Say which file is at `path` now. Raises OSError where there is none, or an empty one."""
    status = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat, and asked for every call
    if not status.st_size:  # what is in memory, or in the write-ahead log, would still answer
        raise OSError(errno.ENODATA, "the file is empty; was it truncated?", str(path))
    return status.st_dev, status.st_ino


def create(path: Path) -> None:
    """Make the folder (0700) and an empty file (0600) unless they exist: the store holds keys."""
    make_folder(path.parent, parents=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def prepare(path: Path, *, create_missing: bool = True) -> None:
    """Make the file unless it is there, and bring its schema up to date. Raises NotFound or StoreError."""
    if create_missing:
        create(path)
    elif not path.exists():
        raise NotFound(f"there is no token store at {path}; correct the name, or bring the file back.")
    with translated(path), contextlib.closing(connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        if pending(versions(connection)):
            _upgrade(connection)
        if step := newer(versions(connection)):
            raise StoreError(f"{path} was made by a newer llmproxy (schema step {step}); update this one.")


def versions(connection: sqlite3.Connection) -> list[str]:
    """List those that the store has been through, as sqlite-utils notes them; empty for a new file."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
        return []
    found = connection.execute(
        "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY rowid", [MIGRATIONS]
    )
    return [name for (name,) in found]


def _upgrade(connection: sqlite3.Connection) -> None:
    # sqlite-utils takes 8 MB and a tenth of a second, which a store that is up to date spares.
    from store.database.sqlite.schema import upgrade  # noqa: PLC0415

    # IMMEDIATE: of two processes that start together one migrates and the other waits for it.
    connection.execute("BEGIN IMMEDIATE")
    try:
        if pending(versions(connection)):
            upgrade(connection)
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite into ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    except sqlite3.IntegrityError as error:
        kind = Conflict if error.sqlite_errorcode in EXISTS_ALREADY else StoreError
        raise kind(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: {error}; is it a token store?") from error

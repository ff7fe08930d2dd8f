"""Copy a store into a file of its own, while proxies use it, and bring it back.

The file is a SQLite store, whatever engine it was taken from. The master key is not in it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from store.audit.log import AuditLog, Entry
from store.audit.origin import Origin
from store.core.errors import Conflict, NotFound, StoreError
from store.database.engine import Connection
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.database.schema import TABLES
from store.database.sqlite.files import connect, create, translated
from store.tokens import grants
from store.upkeep.transfer import Tell, count, refuse_unless_empty, say_nothing, transfer

LONG_SECONDS = 600.0
"""Longest time for one statement, or for another process's transaction."""


@contextlib.contextmanager
def connected(location: StoreLocation) -> Iterator[Connection]:
    """Connect to a store that is there, for a long time."""
    connection = engine_of(location).connect(busy_seconds=LONG_SECONDS)
    try:
        yield connection
    finally:
        connection.close()


def copy(
    source: StoreLocation, target: StoreLocation, origin: Origin, *, force: bool, tell: Tell = say_nothing
) -> dict[str, int]:
    """Give the rows of one store in another, which is made, or whose own are replaced with `force`."""
    engine_of(source).prepare(create=False)
    engine_of(target).prepare()
    with connected(source) as here, connected(target) as there:
        entry = Entry("store.copy", after={"from": str(source)})
        return transfer(here, there, AuditLog(there, origin), entry, force=force, tell=tell)


def backup(
    source: StoreLocation, file: Path, origin: Origin, *, force: bool, tell: Tell = say_nothing
) -> dict[str, int]:
    """Write a store into a file (0600), which appears when it is whole. Raises Conflict if there is one."""
    if file.exists() and not force:
        raise Conflict(f"{file} exists already; --force replaces it.")
    engine_of(source).prepare(create=False)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    _remove(aside)
    try:
        with connected(source) as connection:
            # Before, so that the backup tells of itself.
            with connection.transaction():
                AuditLog(connection, origin).add(Entry("store.backup", after={"to": file.name}))
            if source.path is not None:
                _copy_pages(source.path, aside)
                counts = _counts(StoreLocation.of(aside))
            else:
                engine_of(aside).prepare()
                with connected(StoreLocation.of(aside)) as there:
                    entry = Entry("store.copy", after={"from": str(source)})
                    log = AuditLog(there, origin)
                    counts = transfer(connection, there, log, entry, force=True, tell=tell)
        _as_one_file(aside)
        aside.replace(file)
    finally:
        _remove(aside)
    return counts


def restore(
    file: Path, target: StoreLocation, origin: Origin, *, force: bool, tell: Tell = say_nothing
) -> dict[str, int]:
    """Bring a backup back. Raises Conflict where the target is in use, unless `force` says that it may go.

    Proxies on the target may go on: they see the restored store from the next call on.
    """
    if not file.exists():
        raise NotFound(f"there is no backup {file}.")
    _prove(file)
    entry = Entry("store.restore", after={"from": file.name})
    if target.path is None:
        return _restore_to_server(file, target, origin, entry, force=force, tell=tell)
    newest = _revision_of(target, force=force)
    create(target.path)
    _copy_pages(file, target.path)
    engine_of(target).prepare()
    with connected(target) as connection, connection.transaction():
        number = max(newest, grants.revision(connection)) + 1
        connection.run("UPDATE revision SET number = :number", number=number)
        AuditLog(connection, origin).add(entry)
    return _counts(target)


def _restore_to_server(
    file: Path, target: StoreLocation, origin: Origin, entry: Entry, *, force: bool, tell: Tell
) -> dict[str, int]:
    engine_of(target).prepare()
    # Upgraded before, and in a copy: the backup stays as it is.
    upgraded = file.with_name(f".{file.name}.{os.getpid()}")
    _remove(upgraded)
    try:
        _copy_pages(file, upgraded)
        engine_of(upgraded).prepare()
        with connected(StoreLocation.of(upgraded)) as here, connected(target) as there:
            return transfer(here, there, AuditLog(there, origin), entry, force=force, tell=tell)
    finally:
        _remove(upgraded)


def _revision_of(target: StoreLocation, *, force: bool) -> int:
    """Give the revision of the store that is going to be replaced; 0 without one.

    One that can't be read is set aside.
    """
    assert target.path is not None
    if not target.path.exists():
        return 0
    try:
        engine_of(target).prepare()
        with connected(target) as connection:
            if not force:
                refuse_unless_empty(connection)
            return grants.revision(connection)
    except Conflict:
        raise
    except StoreError as error:
        if not force:
            raise Conflict(f"{error}; --force puts it aside and restores the backup.") from error
        stamp = f"{time.time():.0f}"
        for part in ("", "-wal", "-shm"):
            damaged = target.path.with_name(target.path.name + part)
            if damaged.exists():
                damaged.rename(damaged.with_name(f"{damaged.name}.damaged-{stamp}"))
        return int(time.time())


def _copy_pages(source: Path, target: Path) -> None:
    """Copy by SQLite's own means, in one step: what others write meanwhile is not in it."""
    create(target)
    with (
        contextlib.closing(connect(source)) as here,
        contextlib.closing(connect(target)) as there,
        translated(source),
    ):
        here.backup(there)


def _as_one_file(file: Path) -> None:
    """Leave no ``-wal`` and ``-shm`` beside the file."""
    with contextlib.closing(connect(file)) as connection, translated(file):
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()


def _prove(file: Path) -> None:
    """Raise StoreError for what is no sound store."""
    with contextlib.closing(_read_only(file)) as connection, translated(file):
        said = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if said != "ok":
            raise StoreError(f"{file} is damaged: {said}.")
        found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"projects", "tokens"} <= found:
        raise StoreError(f"{file} is no backup of a token store.")


def _read_only(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)


def _counts(location: StoreLocation) -> dict[str, int]:
    with connected(location) as connection:
        return {table.name: count(connection, table) for table in TABLES}


def _remove(file: Path) -> None:
    for part in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + part).unlink(missing_ok=True)

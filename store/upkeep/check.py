"""Check a store for what may be wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from store.audit.log import AuditLog
from store.audit.origin import NOBODY
from store.core.errors import StoreError
from store.database.engine import Connection
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.database.schema import TABLES
from store.database.sqlite.files import WAL_BYTES, wal_bytes
from store.keys.project_keys import ProjectKeys
from store.tokens import grants
from store.upkeep.backup import connected
from store.upkeep.transfer import count

PROBE = "llmproxy-check"


@dataclass(frozen=True, slots=True)
class Finding:
    """Says what one check found."""

    check: str
    ok: bool
    detail: str

    def as_dict(self) -> dict[str, object]:
        return {"check": self.check, "ok": self.ok, "detail": self.detail}


def check(location: StoreLocation) -> list[Finding]:
    """Give all that can be checked; what can't be, because of something before, is left out.

    Raises NotFound where there is no store, StoreUnavailable where it can't be reached.
    """
    engine_of(location).prepare(create=False)
    with connected(location) as connection:
        checks: dict[str, Callable[[], str]] = {
            "integrity": lambda: _integrity(connection, location),
            "schema": lambda: _schema(connection),
            "references": lambda: _references(connection),
            "keys": lambda: _keys(connection, location),
            "revision": lambda: _revision(connection),
            "audit": lambda: _audit(connection),
        }
        if location.path is not None:
            checks["wal"] = partial(_wal, connection, location.path)
        return [_found(name, look) for name, look in checks.items()]


def _found(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except StoreError as error:
        return Finding(name, False, str(error))


def _integrity(connection: Connection, location: StoreLocation) -> str:
    if location.kind == "sqlite":
        said = [row["integrity_check"] for row in connection.rows("PRAGMA integrity_check(10)")]
        if said != ["ok"]:
            raise StoreError(f"the file is damaged: {'; '.join(said)}; restore a backup.")
        return "every page of the file is sound"
    if location.kind == "mysql":
        names = ", ".join(table.name for table in TABLES)
        bad = [row for row in connection.rows(f"CHECK TABLE {names}") if row["Msg_text"] != "OK"]
        if bad:
            raise StoreError(f"table {bad[0]['Table']}: {bad[0]['Msg_text']}; restore a backup.")
        return "every table is sound"
    return "every table can be read" if all(count(connection, table) >= 0 for table in TABLES) else ""


def _wal(connection: Connection, path: Path) -> str:
    """Take into the file what can be, and see what is left."""
    pages = connection.rows("PRAGMA wal_checkpoint(PASSIVE)")[0]
    size = wal_bytes(path)
    waiting = pages["log"] - pages["checkpointed"]
    said = f"the write-ahead log has {size:,} bytes"
    if size > WAL_BYTES and waiting > 0:
        raise StoreError(
            f"{said}, and {waiting} pages of it wait for a reader that keeps an old state open; end that one."
        )
    return f"{said}; above {WAL_BYTES:,} a running proxy cuts it down within a minute"


def _schema(connection: Connection) -> str:
    for table in TABLES:
        rows = connection.rows(f"SELECT * FROM {table.name} LIMIT 1")  # noqa: S608 - our own names
        if rows and (missing := set(table.names) - rows[0].keys()):
            raise StoreError(f"table {table.name} has no column {sorted(missing)[0]}.")
    return f"{len(TABLES)} tables, up to date"


def _references(connection: Connection) -> str:
    rows = connection.rows(
        "SELECT tokens.id FROM tokens LEFT JOIN projects ON projects.id = tokens.project_id "
        "WHERE projects.id IS NULL ORDER BY tokens.id"
    )
    if rows:
        raise StoreError(f"{len(rows)} tokens have no project; the first is {rows[0]['id']}.")
    return "every token has its project"


def _keys(connection: Connection, location: StoreLocation) -> str:
    plain = ProjectKeys(location, connection, AuditLog(connection, NOBODY)).check()
    if plain:
        raise StoreError(f"{plain} keys are in plain text; `llmproxy keys encrypt` encrypts them.")
    return "every encrypted key opens"


class _Undone(Exception):
    """Ends the transaction of the probe."""


def _revision(connection: Connection) -> str:
    """Change a project and a token in every way, see that each is noticed, and undo it."""
    seen: list[int] = []
    with suppress(_Undone), connection.transaction():
        for change in _probe(connection):
            change()
            seen.append(grants.revision(connection))
        raise _Undone
    if sorted(set(seen)) != seen:
        raise StoreError(
            "changes do not raise the revision, so running proxies would not see them: "
            "the triggers are gone; restore a backup."
        )
    return "every change is seen by running proxies"


def _probe(connection: Connection) -> list[Callable[[], object]]:
    project = {"id": PROBE, "name": PROBE, "api_key": "env:NONE", "active": 0}
    token = {"id": PROBE, "sha256": 64 * "f", "prefix": "", "project_id": PROBE, "active": 1}
    return [
        partial(connection.insert, "projects", [{**project, "created_at": "", "updated_at": ""}]),
        partial(connection.insert, "tokens", [{**token, "created_at": ""}]),
        partial(connection.run, "UPDATE tokens SET active = 0 WHERE id = :id", id=PROBE),
        partial(connection.run, "UPDATE tokens SET limits = '[]' WHERE id = :id", id=PROBE),
        partial(connection.run, "UPDATE projects SET active = 1 WHERE id = :id", id=PROBE),
        partial(connection.run, "DELETE FROM tokens WHERE id = :id", id=PROBE),
        partial(connection.run, "DELETE FROM projects WHERE id = :id", id=PROBE),
    ]


def _audit(connection: Connection) -> str:
    verdict = AuditLog(connection, NOBODY).verify()
    if not verdict.whole:
        raise StoreError(f"{verdict.faults[0]}; `llmproxy audit verify` shows all.")
    return f"{verdict.rows} rows, whole"

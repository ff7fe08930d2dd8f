"""Record who owns objects that the API keeps, and whose usage is to be counted: table ``objects``.

Several projects may share one upstream key, for which all objects are the same. A row says who made one. Of
what is billed after its answer (background responses, runs, batches) it also says whether the usage has been
counted, which happens once:

- ``due`` is 1 until then;
- a *claim* (``counted_by``, ``counted_writer``) says which event is going to have the usage;
- the claim is *settled* (``counted_at``, ``due`` 0) once that event is on disk.

A claim of a process that was killed in between is settled or undone by looking whether the event is there
(:mod:`store.objects.recovery`): usage is neither lost nor counted twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from store.core.times import rfc3339
from store.database.engine import Connection, Row
from store.tokens.models import Grant
from store.tokens.rows import project_of, token_of

LONGEST = 200
"""Characters of an id; a longer one is none."""
PASSING_SECONDS = 31 * 86400
"""It says how long answers are remembered that the API itself forgets after thirty days."""
CHUNK = 500
"""Values of one ``IN`` list."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Says whose an object is."""

    project_id: str | None
    """None: everybody's."""
    token_id: str | None = None
    """None: any token's of the project."""


@dataclass(frozen=True, slots=True)
class NewObject:
    """Describes an object as it is seen first, or again."""

    id: str
    kind: str
    owner: Owner
    due: bool = False
    """It tells whether its usage comes with a later answer."""
    passing: bool = False
    parent: str | None = None
    """Id of the object that this is the output of; of what is due, of the event of the call that made it."""
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Says that the usage of an object is this event's."""

    id: str
    kind: str
    owner: Owner
    grant: Grant | None
    """It is that of the owner; None where the token or the project is gone."""
    made_by: str | None = None
    """Id of the event of the call that made it."""
    status: str | None = None
    """It is that of a batch its state; of a response the service tier that its request told, and no look
    tells."""


@dataclass(frozen=True, slots=True)
class Object:
    """Holds a row, for people."""

    id: str
    kind: str
    owner: Owner
    created_at: int
    """Seconds since 1970."""
    status: str | None
    due: bool

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for JSON output."""
        return {
            "id": self.id,
            "kind": self.kind,
            "project_id": self.owner.project_id,
            "token_id": self.owner.token_id,
            "created_at": rfc3339(datetime.fromtimestamp(self.created_at, UTC)),
            "status": self.status,
            "accounted": not self.due,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """Says which objects to list."""

    kind: str | None = None
    project_id: str | None = None
    ids: Sequence[str] | None = None
    unaccounted: bool = False
    most: int = 100


def listed(connection: Connection, wanted: Wanted) -> list[Object]:
    """List objects, newest first: not deleted, or deleted with usage that is still to be counted."""
    conditions = ["(deleted_at IS NULL OR due = 1)"]
    values: dict[str, Any] = {}
    if wanted.kind is not None:
        conditions.append("kind = :kind")
        values["kind"] = wanted.kind
    if wanted.project_id is not None:
        conditions.append("project_id = :project")
        values["project"] = wanted.project_id
    if wanted.ids is not None:
        conditions.append("id IN :ids")
        values["ids"] = list(wanted.ids)
    if wanted.unaccounted:
        conditions.append("due = 1")
    rows = connection.rows(
        f"SELECT * FROM objects WHERE {' AND '.join(conditions)} "  # noqa: S608 - of our own words
        "ORDER BY created_at DESC, id LIMIT :most",
        most=wanted.most,
        **values,
    )
    return [
        Object(row["id"], row["kind"], _owner(row), row["created_at"], row["status"], row["due"] == 1)
        for row in rows
    ]


def remember(
    connection: Connection, objects: Sequence[NewObject], *, now: float | None = None
) -> dict[str, Owner]:
    """Keep objects that are not known yet. Returns the true owners of those that are another's already.

    Raises Conflict where another process was faster; then all is to be done again.
    """
    moment = int(time.time() if now is None else now)
    wanted = {new.id: new for new in objects if len(new.id) <= LONGEST}
    with connection.transaction():
        known = _rows(connection, wanted)
        connection.insert("objects", [_row(new, moment) for new in wanted.values() if new.id not in known])
        for id_, row in known.items():
            _update(connection, wanted[id_], row)
    owners = {id_: _owner(row) for id_, row in known.items()}
    return {id_: owner for id_, owner in owners.items() if owner != wanted[id_].owner}


def _row(new: NewObject, moment: int) -> dict[str, Any]:
    return {
        "id": new.id,
        "kind": new.kind,
        "project_id": new.owner.project_id,
        "token_id": new.owner.token_id,
        "created_at": moment,
        "expires_at": moment + PASSING_SECONDS if new.passing else None,
        "deleted_at": None,
        "parent": new.parent,
        "status": new.status,
        "due": int(new.due),
        "counted_by": None,
        "counted_writer": None,
        "counted_at": None,
    }


def _update(connection: Connection, new: NewObject, row: Row) -> None:
    """Change of a known object its state, and that nothing is to be paid after all."""
    if new.status is not None and new.status != row["status"]:
        connection.run("UPDATE objects SET status = :status WHERE id = :id", status=new.status, id=new.id)
    if new.parent is not None and row["parent"] is None:
        connection.run("UPDATE objects SET parent = :parent WHERE id = :id", parent=new.parent, id=new.id)
    if row["due"] == 1 and not new.due and new.kind == row["kind"] == "batch":
        connection.run("UPDATE objects SET due = 0 WHERE id = :id AND counted_by IS NULL", id=new.id)


def owners(connection: Connection, ids: Iterable[str]) -> dict[str, Owner]:
    """Give whose these are; those that nobody made, or that are deleted, are left out."""
    found = _rows(connection, (id_ for id_ in ids if len(id_) <= LONGEST))
    return {id_: _owner(row) for id_, row in found.items() if row["deleted_at"] is None}


def forget(connection: Connection, id_: str) -> None:
    """Forget a deleted object. What is still to be counted stays known for that."""
    connection.run(
        "UPDATE objects SET deleted_at = :now, expires_at = :later WHERE id = :id AND deleted_at IS NULL",
        now=int(time.time()),
        later=int(time.time()) + PASSING_SECONDS,
        id=id_,
    )


def parents(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    """Give what these are the output of, as far as the usage of that is still to be counted."""
    found = {id_: row["parent"] for id_, row in _rows(connection, ids).items() if row["parent"]}
    due = {id_ for id_, row in _rows(connection, found.values()).items() if row["due"] == 1}
    return {id_: parent for id_, parent in found.items() if parent in due}


def claim(
    connection: Connection, id_: str, event_id: str, writer: str, *, made: NewObject | None = None
) -> Claim | None:
    """Take the usage of `id_` for an event; None where it is another's, or nothing is to be counted.

    The same event may ask again. `made` is given where the event is that of the call which made the object:
    its usage is to be counted whether that was expected or not.
    """
    if made is not None:
        remember(connection, [made])
        connection.run("UPDATE objects SET due = 1 WHERE id = :id AND counted_by IS NULL", id=id_)
    changed = connection.run(
        "UPDATE objects SET counted_by = :event, counted_writer = :writer "
        "WHERE id = :id AND due = 1 AND counted_by IS NULL",
        event=event_id,
        writer=writer,
        id=id_,
    )
    rows = connection.rows("SELECT * FROM objects WHERE id = :id", id=id_)
    if not rows or (not changed and not (rows[0]["counted_by"] == event_id and rows[0]["due"] == 1)):
        return None
    (row,) = rows
    return Claim(id_, row["kind"], _owner(row), _grant(connection, row), row["parent"], row["status"])


def _grant(connection: Connection, row: Row) -> Grant | None:
    tokens = connection.rows("SELECT * FROM tokens WHERE id = :id", id=row["token_id"])
    projects = connection.rows("SELECT * FROM projects WHERE id = :id", id=row["project_id"])
    return Grant(project_of(projects[0]), token_of(tokens[0])) if tokens and projects else None


def settle(connection: Connection, event_ids: Iterable[str]) -> None:
    """Settle claims: these events are on disk, and with them the usage that they claimed."""
    for chunk in _chunks(event_ids):
        connection.run(
            "UPDATE objects SET due = 0, counted_at = :now WHERE counted_by IN :ids AND due = 1",
            now=int(time.time()),
            ids=chunk,
        )


def release(connection: Connection, event_ids: Iterable[str]) -> None:
    """Release the claims of events that will not have the usage."""
    for chunk in _chunks(event_ids):
        connection.run(
            "UPDATE objects SET counted_by = NULL, counted_writer = NULL "
            "WHERE counted_by IN :ids AND due = 1",
            ids=chunk,
        )


def unsettled(connection: Connection) -> list[Row]:
    """Give the claims whose events are not known to be on disk."""
    return connection.rows("SELECT * FROM objects WHERE due = 1 AND counted_by IS NOT NULL")


def adopt(connection: Connection, ids: Iterable[str], kind: str, owner: Owner) -> int:
    """Give objects to `owner`, whether they are known or not. Returns how many belonged to others."""
    wanted = list(dict.fromkeys(ids))
    with connection.transaction():
        known = _rows(connection, wanted)
        for id_ in known:
            connection.run(
                "UPDATE objects SET project_id = :project, token_id = :token, deleted_at = NULL "
                "WHERE id = :id",
                project=owner.project_id,
                token=owner.token_id,
                id=id_,
            )
        moment = int(time.time())
        fresh = [_row(NewObject(id_, kind, owner), moment) for id_ in wanted if id_ not in known]
        connection.insert("objects", fresh)
    return sum(_owner(row) != owner for row in known.values())


def prune(connection: Connection, *, before: int | None = None, most: int = 10_000) -> int:
    """Remove what has expired, and what was made before a time if its usage is not still to be counted.

    Returns how many of at most `most` were removed.
    """
    moment = int(time.time())
    rows = connection.rows(
        "SELECT id FROM objects WHERE expires_at < :now OR (due = 0 AND created_at < :before) LIMIT :most",
        now=moment,
        before=0 if before is None else before,
        most=most,
    )
    for chunk in _chunks(row["id"] for row in rows):
        connection.run("DELETE FROM objects WHERE id IN :ids", ids=chunk)
    return len(rows)


def _rows(connection: Connection, ids: Iterable[str]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for chunk in _chunks(ids):
        for row in connection.rows("SELECT * FROM objects WHERE id IN :ids", ids=chunk):
            found[row["id"]] = row
    return found


def _chunks(values: Iterable[str]) -> Iterable[list[str]]:
    every = list(dict.fromkeys(values))
    return (every[start : start + CHUNK] for start in range(0, len(every), CHUNK))


def _owner(row: Mapping[str, Any]) -> Owner:
    return Owner(row["project_id"], row["token_id"])

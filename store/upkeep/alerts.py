"""Remember what is wrong and who was told: table ``alerts``, a row for each condition that holds.

::

    (none) ──seen──> pending ──for so long──> firing ──unseen for so long──> resolved ──told──> (none)
                        └──unseen──> (none)

A change of a row is made only where the row still is what it was, so of several dispatchers on a store one
tells of each change. The row holds the record until that is on disk (`told`): where its process died before,
another one tells it, with the same `event_id`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID, uuid5

from msgspec import structs
from uuid_utils import uuid7

from store.core.errors import Conflict
from store.core.event import AlertRecord, Error
from store.core.event_fields import read_record, to_fields
from store.core.times import rfc3339
from store.database.engine import Connection

SPEND_RATE, DISPATCHER_FAILING, PROXY_UNHEALTHY = "spend_rate", "dispatcher_failing", "proxy_unhealthy"
ONCE = frozenset({SPEND_RATE})
"""It is what is told at once, at most once in ONCE_SECONDS, and never as resolved."""
ONCE_SECONDS = 86400
TABLE = "alerts"
PENDING, FIRING, RESOLVED = "pending", "firing", "resolved"
NAMESPACE = UUID("0c4a3d52-6d0b-5a6c-9d53-3f0a2b8e71c4")
"""It is that of the ids of conditions."""
TELL_SECONDS = 60
"""After so long a record that nobody has told is told by whoever sees it."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Describes something that is wrong."""

    alert: str
    reason: str
    subject: str
    summary: str
    place: str = ""
    """`HOST:SPOOL`; nothing where it is about the whole store."""
    error: str | None = None
    project: tuple[str, str | None] | None = None
    """Id and name."""
    spend: tuple[int, float, float] | None = None
    """Hours, dollars in them, and in the same ones of the week before."""
    key: str = ""
    """It is what tells it from others of its kind and place."""

    @property
    def id(self) -> str:
        """Give the same for the same condition, whoever sees it."""
        return str(uuid5(NAMESPACE, f"{self.alert}|{self.place}|{self.key}"))


@dataclass(frozen=True, slots=True)
class Entry:
    """Is a row of the table."""

    id: str
    state: str
    since: int
    seen_at: int
    at: int
    """It says when its state changed, or the record was last taken over."""
    told: int
    place: str = ""
    event: str = ""
    """The record of its state."""

    def record(self) -> AlertRecord:
        """Read the record that was, or is to be, told."""
        return read_record(json.loads(self.event), AlertRecord)

    def with_record(self, record: AlertRecord, state: str, now: int) -> Entry:
        """Give the entry with a new state, of which nobody has been told."""
        event = json.dumps(to_fields(record))
        return replace(self, state=state, at=now, told=0, event=event)


class Entries(Protocol):
    """Holds the entries, in the store or in memory."""

    def all(self) -> dict[str, Entry]: ...

    def seen(self, ids: Iterable[str], now: int) -> None: ...

    def change(self, before: Entry | None, after: Entry | None) -> bool:
        """Change an entry, unless somebody else was faster."""
        ...


class StoredEntries:
    """Holds them in the store. Methods raise StoreError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> dict[str, Entry]:
        rows = self._connection.rows(f"SELECT * FROM {TABLE}")  # noqa: S608
        names = Entry.__slots__
        return {row["id"]: Entry(**{name: row[name] for name in names}) for row in rows}

    def seen(self, ids: Iterable[str], now: int) -> None:
        self._connection.run(f"UPDATE {TABLE} SET seen_at = :now WHERE id IN :ids", now=now, ids=list(ids))  # noqa: S608

    def change(self, before: Entry | None, after: Entry | None) -> bool:
        if before is None:
            try:
                self._connection.insert(TABLE, [asdict(after)] if after is not None else [])
            except Conflict:
                return False
            return True
        old = {"id": before.id, "was": before.state, "since_at": before.at, "was_told": before.told}
        same = "id = :id AND state = :was AND at = :since_at AND told = :was_told"
        if after is None:
            return self._connection.run(f"DELETE FROM {TABLE} WHERE {same}", **old) == 1  # noqa: S608
        new = {name: value for name, value in asdict(after).items() if name != "id"}
        assignments = ", ".join(f"{name} = :{name}" for name in new)
        return self._connection.run(f"UPDATE {TABLE} SET {assignments} WHERE {same}", **old, **new) == 1  # noqa: S608


class EntriesInMemory:
    """Holds them while the store is away."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.unsaved: set[str] = set()
        """Ids of what was changed meanwhile."""

    def all(self) -> dict[str, Entry]:
        return dict(self.entries)

    def seen(self, ids: Iterable[str], now: int) -> None:
        for id_ in ids:
            self.entries[id_] = replace(self.entries[id_], seen_at=now)
            self.unsaved.add(id_)

    def change(self, before: Entry | None, after: Entry | None) -> bool:
        changed = after or before
        assert changed is not None
        self.unsaved.add(changed.id)
        if after is None:
            self.entries.pop(changed.id, None)
        else:
            self.entries[changed.id] = after
        return True

    def save(self, entries: Entries) -> None:
        """Bring what was changed into the store, which is there again."""
        stored = entries.all()
        for id_ in sorted(self.unsaved):
            before, after = stored.get(id_), self.entries.get(id_)
            if before != after:
                entries.change(before, after)
            self.unsaved.discard(id_)


def advance(
    entries: Entries,
    found: Mapping[str, Condition],
    now: int,
    after: float,
    is_seen: Callable[[Entry], bool] = lambda _: True,
) -> Iterator[Entry]:
    """Bring the entries up to what is found; give those whose record is to be told, by us.

    `after`: seconds for which a condition must hold, or be gone, before that is told. `is_seen`: whether a
    condition would have been found if it held.
    """
    known = entries.all()
    entries.seen([id_ for id_ in found if id_ in known], now)
    for id_, condition in found.items():
        yield from _hold(entries, known.get(id_), condition, now, after)
    for id_, entry in known.items():
        if not entry.told:
            fresh = replace(entry, at=now)
            if now - entry.at >= TELL_SECONDS and entries.change(entry, fresh):
                yield fresh
        elif entry.state == PENDING:
            if id_ not in found and now - entry.seen_at > after:
                entries.change(entry, None)
        elif entry.record().alert in ONCE:
            if now - entry.at >= ONCE_SECONDS:
                entries.change(entry, None)
        elif id_ not in found and now - entry.seen_at > after and is_seen(entry):
            gone = entry.with_record(_resolved(entry.record(), now), RESOLVED, now)
            if entries.change(entry, gone):
                yield gone


def mark_told(entries: Entries, entry: Entry) -> None:
    """Note that the record of an entry is on disk."""
    entries.change(entry, None if entry.state == RESOLVED else replace(entry, told=1))


def _hold(
    entries: Entries, entry: Entry | None, condition: Condition, now: int, after: float
) -> Iterator[Entry]:
    """Take note of a condition; once it has held for long enough, it is told."""
    if entry is None:
        entry = Entry(condition.id, PENDING, now, now, now, 1, condition.place)
        if not entries.change(None, entry):
            return
    if entry.state == PENDING and (condition.alert in ONCE or now - entry.since >= after):
        firing = replace(entry.with_record(_record(condition, entry.since, now), FIRING, now), seen_at=now)
        if entries.change(entry, firing):
            yield firing


def _record(condition: Condition, since: int, now: int) -> AlertRecord:
    record = AlertRecord(
        event_id=str(uuid7()),
        timestamp=_time(now),
        alert=condition.alert,
        state=FIRING,
        reason=condition.reason,
        since=_time(since),
        summary=condition.summary,
        error=None if condition.error is None else Error(message=condition.error),
        subject=condition.subject or None,
        place=condition.place or None,
    )
    if condition.project is not None:
        record.project_id, record.project_name = condition.project
    if condition.spend is not None:
        record.hours, record.usd, record.usd_before = condition.spend
    return record


def _resolved(record: AlertRecord, now: int) -> AlertRecord:
    summary = f"It is over: {record.summary}"
    told = {"event_id": str(uuid7()), "timestamp": _time(now), "state": RESOLVED, "summary": summary}
    return structs.replace(record, error=None, **told)


def _time(seconds: int) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))

"""Keep the audit log in the store: table ``audit``, and the head of its chain in ``audit_head``.

Whatever changes the store does so within :meth:`AuditLog.change`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from store.audit.chain import PRUNE, Verdict, Verifier
from store.audit.origin import Origin, Request
from store.audit.record import VERSION, Head, Record, canonical, digest, of_row
from store.core.errors import Conflict, Invalid, KeyUnavailable, NotFound, StoreError, StoreUnavailable
from store.database.engine import Connection

LOCK = "audit"
FAILURES: dict[type[StoreError], str] = {
    Conflict: "conflict",
    Invalid: "invalid",
    KeyUnavailable: "key_unavailable",
    NotFound: "not_found",
}
LOWEST = -(2**63)
SEARCHED = ("action", "outcome", "actor", "address", "project_id", "token_id", "reason", "before", "after")
PAGE = 1000
"""Rows that are read at a time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Holds what is to be written down. Never give it a key or a token, nor a text typed for an id."""

    action: str
    outcome: str = "success"
    project_id: str | None = None
    token_id: str | None = None
    reason: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    count: int = 1
    at: int | None = None
    """Seconds since 1970; None for now."""
    since: int | None = None
    origin: Origin | None = None
    """None for the log's own."""


@dataclass(slots=True)
class Change:
    """Follows a management action under way."""

    action: str
    project_id: str | None = None
    """It is what it is about; set once that is known to exist, and never to what somebody typed."""
    token_id: str | None = None
    entries: list[Entry] = field(default_factory=list)

    def about(self, *, project_id: str | None = None, token_id: str | None = None) -> None:
        self.project_id, self.token_id = project_id, token_id

    def note(
        self, before: Mapping[str, Any] | None, after: Mapping[str, Any], *, reason: str | None = None
    ) -> None:
        """Add a row for what it is about now, with the fields that differ; `before` None: it is new."""
        was, became = changed(before or {}, after)
        self.entries.append(
            Entry(
                self.action,
                project_id=self.project_id,
                token_id=self.token_id,
                reason=reason,
                before=None if before is None else was or None,
                after=became or None,
            )
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Describes rows that fit everything that is given."""

    action: str | None = None
    """``token`` takes all of ``token.create``, ``token.revoke`` ... as well."""
    outcome: str | None = None
    actor: str | None = None
    """A part of the actor's text."""
    project_id: str | None = None
    token_id: str | None = None
    reason: str | None = None
    address: str | None = None
    since: int | None = None
    until: int | None = None
    """Before this moment."""
    below: int | None = None
    """With a lower number."""
    seq: int | None = None
    """The one with this number."""
    projects: Sequence[str] | None = None
    """About one of these projects."""
    search: str | None = None
    """A part of any of its texts."""
    request_id: str | None = None
    correlation_id: str | None = None
    method: str | None = None
    path: str | None = None
    """It is that of the HTTP request that asked for it."""


class AuditLog:
    """Keeps the log of the store that `connection` leads to. Methods raise StoreError."""

    def __init__(self, connection: Connection, origin: Origin) -> None:
        self._connection = connection
        self.origin = origin

    @contextmanager
    def change(self, action: str) -> Iterator[Change]:
        """Run one transaction: what is done in it, and its rows in the log; a row, too, where it fails.

        What is read in it can't be changed by another management action before it is written.
        """
        change = Change(action)
        try:
            with self._connection.transaction():
                self._connection.lock(LOCK)
                yield change
                self.add(*change.entries)
        except StoreUnavailable:
            raise
        except StoreError as error:
            self._add_failure(change, error)
            raise

    def _add_failure(self, change: Change, error: StoreError) -> None:
        """Note that a change failed, without the error's text.

        It may repeat what somebody typed, be that a token in place of its id.
        """
        entry = Entry(
            change.action,
            outcome="failure",
            project_id=change.project_id,
            token_id=change.token_id,
            reason=FAILURES.get(type(error), "error"),
        )
        with suppress(StoreError), self._connection.transaction():
            self.add(entry)

    def add(self, *entries: Entry) -> None:
        """Append to the chain, within the transaction that makes the change."""
        if not entries:
            return
        self._connection.lock(LOCK)
        head = self.head()
        rows = []
        for entry in entries:
            record = self._record(entry, head)
            rows.append({name: getattr(record, name) for name in Record.__slots__})
            head = record.head
        self._connection.insert("audit", rows)
        self._note_requests(entries, rows)
        self._connection.run("UPDATE audit_head SET seq = :seq, hash = :hash", seq=head.seq, hash=head.hash)

    def _note_requests(self, entries: Sequence[Entry], rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep the HTTP request of each row beside the chain; it says nothing of what was changed."""
        found = [
            {"seq": row["seq"], **asdict(request)}
            for entry, row in zip(entries, rows, strict=True)
            if (request := (entry.origin or self.origin).request) is not None
        ]
        if found:
            self._connection.insert("audit_requests", found)

    def requests(self, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return the HTTP requests of these rows, by number; most rows have none."""
        rows = self._connection.rows("SELECT * FROM audit_requests WHERE seq IN :seqs", seqs=list(numbers))
        return {row["seq"]: {name: row[name] for name in Request.__slots__} for row in rows}

    def head(self) -> Head:
        """Give what the store says that the last row is."""
        head = self._stored_head()
        if head is None:
            raise StoreError(
                "the head of the store's audit log is gone, so nothing can be added to it: "
                "bring the store back from a backup."
            )
        return head

    def find(self, wanted: Wanted, *, limit: int, skip: int = 0) -> list[Record]:
        """Give the records, newest first, without the first ones to `skip`."""
        conditions, values = _conditions(wanted)
        sql = f"SELECT * FROM audit WHERE {conditions} ORDER BY seq DESC LIMIT {limit:d} OFFSET {skip:d}"  # noqa: S608
        return [of_row(row) for row in self._connection.rows(sql, **values)]

    def count(self, wanted: Wanted) -> int:
        """Count the rows that fit."""
        conditions, values = _conditions(wanted)
        rows = self._connection.rows(f"SELECT COUNT(*) AS number FROM audit WHERE {conditions}", **values)  # noqa: S608
        return int(rows[0]["number"])

    def records(self, *, after: int = LOWEST) -> Iterator[Record]:
        """Give all rows with a higher number, in their order."""
        sql = "SELECT * FROM audit WHERE seq > :after ORDER BY seq LIMIT :limit"
        while rows := self._connection.rows(sql, after=after, limit=PAGE):
            yield from map(of_row, rows)
            after = rows[-1]["seq"]

    def verify(self, noted: Sequence[Head] = ()) -> Verdict:
        """Look at every row. Others may append or prune meanwhile."""
        while True:
            first, verifier = self._first(), Verifier(noted)
            head = self._see_all(verifier)
            if self._first() == first:
                return verifier.end(head)

    def _see_all(self, verifier: Verifier) -> Head | None:
        """Read rows up to the head, which is read after them; None where there is none."""
        after = LOWEST
        while True:
            seen = verifier.rows
            for record in self.records(after=after):
                verifier.see(record)
            head, after = self._stored_head(), verifier.last.seq
            if head is None or head.seq <= after or verifier.rows == seen:
                return head

    def prune(self, before: int) -> Entry | None:
        """Take the oldest rows out, up to the first one that is not older than this moment.

        Adds a row that says which they were: it is where the chain begins from then on. None where nothing
        is that old.
        """
        with self._connection.transaction():
            self._connection.lock(LOCK)
            through = self._last_before(before)
            if through.seq == 0:
                return None
            rows = self._connection.run("DELETE FROM audit WHERE seq <= :through", through=through.seq)
            if not rows:
                return None
            self._connection.run("DELETE FROM audit_requests WHERE seq <= :through", through=through.seq)
            entry = Entry(PRUNE, after={"through": through.seq, "hash": through.hash, "rows": rows})
            self.add(entry)
            return entry

    def _last_before(self, moment: int) -> Head:
        """Give the last row before the first one that is not older."""
        kept = self._connection.rows(
            "SELECT seq, previous FROM audit WHERE at >= :moment ORDER BY seq LIMIT 1", moment=moment
        )
        return Head(kept[0]["seq"] - 1, kept[0]["previous"]) if kept else self.head()

    def _stored_head(self) -> Head | None:
        rows = self._connection.rows("SELECT seq, hash FROM audit_head")
        return Head(rows[0]["seq"], rows[0]["hash"]) if rows else None

    def _record(self, entry: Entry, head: Head) -> Record:
        origin = entry.origin or self.origin
        record = Record(
            seq=head.seq + 1,
            version=VERSION,
            at=int(time.time()) if entry.at is None else entry.at,
            since=entry.since,
            action=entry.action,
            outcome=entry.outcome,
            actor=origin.actor,
            address=origin.address,
            project_id=entry.project_id,
            token_id=entry.token_id,
            reason=entry.reason,
            before=None if entry.before is None else canonical(entry.before),
            after=None if entry.after is None else canonical(entry.after),
            count=entry.count,
            previous=head.hash,
            hash="",
        )
        return replace(record, hash=digest(record))

    def _first(self) -> int | None:
        first: int | None = self._connection.rows("SELECT min(seq) AS seq FROM audit")[0]["seq"]
        return first


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the fields that differ, as they were and as they are."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {name: before.get(name) for name in names}, {name: after.get(name) for name in names}


def _conditions(wanted: Wanted) -> tuple[str, dict[str, Any]]:
    """Write the SQL of what is wanted, and its values."""
    conditions, values = ["1 = 1"], {}
    for name in ("outcome", "project_id", "token_id", "reason", "address"):
        if (value := getattr(wanted, name)) is not None:
            conditions.append(f"{name} = :{name}")
            values[name] = value
    if wanted.action is not None:
        conditions.append("(action = :action OR action LIKE :actions ESCAPE '!')")
        values |= {"action": wanted.action, "actions": f"{_literally(wanted.action)}.%"}
    if wanted.actor is not None:
        conditions.append("actor LIKE :actor ESCAPE '!'")
        values["actor"] = f"%{_literally(wanted.actor)}%"
    if wanted.since is not None:
        conditions.append("at >= :since")
        values["since"] = wanted.since
    if wanted.until is not None:
        conditions.append("at < :until")
        values["until"] = wanted.until
    if wanted.below is not None:
        conditions.append("seq < :below")
        values["below"] = wanted.below
    if wanted.seq is not None:
        conditions.append("seq = :seq")
        values["seq"] = wanted.seq
    if wanted.projects is not None:
        conditions.append("project_id IN :projects")
        values["projects"] = list(wanted.projects)
    if wanted.search is not None:
        anywhere = " OR ".join(f"LOWER(\"{name}\") LIKE :search ESCAPE '!'" for name in SEARCHED)
        conditions.append(f"({anywhere})")
        values["search"] = f"%{_literally(wanted.search.lower())}%"
    for name in ("request_id", "correlation_id", "method", "path"):
        if (value := getattr(wanted, name)) is not None:
            conditions.append(f"seq IN (SELECT seq FROM audit_requests WHERE {name} = :{name})")  # noqa: S608
            values[name] = value
    return " AND ".join(conditions), values


def _literally(text: str) -> str:
    """Escape a text for LIKE, where % and _ stand for anything."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")

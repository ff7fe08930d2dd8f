"""Keep the latest calls of all proxies on the store, without what they said: table ``recent_calls``.

A call's row is written in the transaction that counts it, so it is there exactly where its sums are. The
table has bounds, and what is beyond them goes in small portions.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from math import floor
from typing import Any

import msgspec
from msgspec import UNSET

from store.core.codes import Outcome
from store.core.event import Client, Error, UsageEvent
from store.core.event_fields import read_record, to_fields
from store.database.engine import Connection, Row
from store.spool.recent import Found, Position, Wanted, position
from store.spool.segment import encode_object, parse
from store.usage.rollups import Line, name_of, seconds_of

TABLE = "recent_calls"
LEFT_OUT = frozenset(("schema", "type", "request", "response", "rate_limit", "user_claims", "seq"))
"""Fields of an event that are not kept: what was asked and answered, and what only its own proxy needs."""
ESSENTIAL = (
    *("timestamp", "duration_ms", "outcome", "status", "method", "host", "path", "endpoint", "model"),
    *("project_name", "stream", "cost", "writer"),
)
"""Fields that are kept of an event that is too long."""
LONGEST = 8192
"""Bytes of an event; the usual one has some 700."""
TOO_LONG = "the store keeps only the essentials of so long an event"
PAGE = 1000
"""Calls that are read at a time."""
PORTION = 500
"""Rows that are removed at a time."""
LOOK_SECONDS = 60.0
"""Between two looks for what is beyond the bounds."""
PAUSE_SECONDS = 0.25
"""Between two portions."""
OVERLAP = 10_000
"""Milliseconds that are told again to who follows along: clocks differ, and a transaction takes its time."""
COLUMNS = "at, call_id, recorded_at, request_id, project_id, token_id, event"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Says how many calls are kept, and for how long."""

    calls: int = 50_000
    """With 0 none is kept; those of other proxies stay."""
    days: int = 30


def row_of(event: UsageEvent, line: Line) -> Row:
    """Make the row of a call; `recorded_at` is set when it is written."""
    _, project_id, token_id, user_id, model, endpoint = line.key
    return {
        "at": round(seconds_of(event.timestamp) * 1000),
        "call_id": name_of(event.event_id),
        "recorded_at": 0,
        "request_id": name_of(event.request_id),
        "project_id": project_id,
        "token_id": token_id,
        "user_id": user_id or None,
        "session": None if event.session is UNSET else name_of(event.session.id)[:128] or None,
        "model": model,
        "endpoint": endpoint,
        "outcome": name_of(event.outcome),
        "status": event.status,
        "event": _document(event),
    }


def _document(event: UsageEvent) -> str:
    """Write what is kept of an event: fields that say something, and are in no column."""
    fields: dict[str, Any] = {}
    for name, default in DEFAULTS.items():
        value = getattr(event, name)
        if value is not UNSET and value != default:
            fields[name] = value
    if event.usage is not None:  # as it came it is in the spool
        fields["usage"] = msgspec.structs.replace(event.usage, raw=UNSET)
    if event.client is not None:  # addresses stay on the machine, as they do with sinks
        fields["client"] = Client(sdk=event.client.sdk)
    if event.error is not None and event.outcome != Outcome.REFUSED:  # its text may quote a prompt
        fields["error"] = Error(event.error.type, event.error.code)
    document = _encode(fields)
    if len(document) > LONGEST:
        kept = {name: fields[name] for name in ESSENTIAL if name in fields}
        document = _encode({**kept, "truncated": [TOO_LONG]})
    return document.decode()


def _encode(fields: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(fields)
    except (TypeError, ValueError):  # of half a surrogate pair, which clients may send
        return encode_object(msgspec.to_builtins(fields, enc_hook=str))


DEFAULTS = {
    name: value
    for name in UsageEvent.__struct_fields__
    if name not in (*LEFT_OUT, "event_id", "request_id", "project_id", "token_id")
    for value in [getattr(UsageEvent(), name)]
}


class RecentCalls:
    """Writes the table. For one connection at a time, within transactions of its caller."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._due = time.monotonic()
        self._end = 0
        """Calls that began before it (milliseconds since 1970) go."""

    def add(self, connection: Connection, now: float, rows: Iterable[Row]) -> None:
        """Keep calls; one that is there stays as it is."""
        at = floor(now * 1000)
        connection.insert(TABLE, [{**row, "recorded_at": at} for row in rows], known="skip")

    def is_due(self) -> bool:
        """Tell whether there may be something to remove, and count on it being done."""
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + LOOK_SECONDS
        return True

    def prune(self, connection: Connection, now: float) -> None:
        """Remove a portion of what is beyond the bounds, the oldest first."""
        if not self._end:
            self._end = self._end_of(connection, now)
        rows = connection.rows(
            f"SELECT at FROM {TABLE} WHERE at < :end ORDER BY at LIMIT 1 OFFSET {PORTION:d}",  # noqa: S608
            end=self._end,
        )
        until = rows[0]["at"] + 1 if rows else self._end
        connection.run(f"DELETE FROM {TABLE} WHERE at < :until", until=min(until, self._end))  # noqa: S608
        if rows:
            self._due = time.monotonic() + PAUSE_SECONDS
        else:
            self._end = 0

    def _end_of(self, connection: Connection, now: float) -> int:
        too_old = floor((now - self.bounds.days * 86400) * 1000)
        if not self.bounds.calls:
            return too_old
        newest = connection.rows(
            f"SELECT at FROM {TABLE} ORDER BY at DESC LIMIT 1 OFFSET {self.bounds.calls:d}"  # noqa: S608
        )
        return max(too_old, int(newest[0]["at"]) + 1 if newest else 0)


def latest(connection: Connection, wanted: Wanted, limit: int) -> Found:
    """Find the newest calls that fit, at most `limit`; with `behind`, those that were recorded last."""
    chosen, values = _conditions(wanted)
    where = f"WHERE {' AND '.join(chosen)}" if chosen else ""
    order = "recorded_at DESC" if wanted.behind else "at DESC, call_id DESC"
    rows = connection.rows(
        f"SELECT {COLUMNS} FROM {TABLE} {where} ORDER BY {order} LIMIT {limit + 1:d}",  # noqa: S608
        **values,
    )
    found = sorted(map(_record, rows[:limit]), key=position, reverse=True)
    return Found(found, more=len(rows) > limit, whole=True)


def of_session(connection: Connection, token_id: str, name: str, most: int) -> Iterator[dict[str, Any]]:
    """Give the calls of an agent's session, the newest first, at most so many."""
    wanted = Wanted({"token_id": token_id}, session=name)
    while most > 0:
        found = latest(connection, wanted, min(most, PAGE))
        yield from found.calls
        if not found.more:
            return
        most -= len(found.calls)
        wanted = replace(wanted, before=position(found.calls[-1]))


def newest_of(now: float) -> Position:
    """Give the position behind which calls are that are recorded from now on."""
    return str(floor(now * 1000)), ""


def find(connection: Connection, id_: str) -> dict[str, Any] | None:
    """Find a call by its event id or request id; None where it is not there, or not any more."""
    for column in ("call_id", "request_id"):
        rows = connection.rows(
            f"SELECT {COLUMNS} FROM {TABLE} WHERE {column} = :id ORDER BY at DESC LIMIT 1",  # noqa: S608
            id=id_,
        )
        if rows and id_:
            return _record(rows[0])
    return None


def _conditions(wanted: Wanted) -> tuple[list[str], dict[str, Any]]:
    values: dict[str, Any] = {name: name_of(value) for name, value in wanted.equal.items()}
    if "status" in values:
        values["status"] = int(values["status"]) if values["status"].isdecimal() else -1
    if wanted.user is not None:
        values["user_id"] = name_of(wanted.user)
    if wanted.session is not None:
        values["session"] = name_of(wanted.session)[:128]
    chosen = [f"{name} = :{name}" for name in values]
    if wanted.since is not None:
        chosen.append("at >= :since")
        values["since"] = _milliseconds(wanted.since)
    if wanted.until is not None:
        chosen.append("at < :until")
        values["until"] = _milliseconds(wanted.until)
    if wanted.before is not None:
        # The first comparison is what an index can be read by.
        chosen.append("at <= :before_at AND (at < :before_at OR call_id < :before_id)")
        values |= {"before_at": _milliseconds(wanted.before[0]), "before_id": wanted.before[1]}
    if wanted.behind is not None:
        chosen.append("recorded_at > :behind")
        values["behind"] = int(wanted.behind[0] if wanted.behind[0].isdecimal() else 0) - OVERLAP
    if wanted.projects is not None:
        chosen.append("project_id IN :projects")
        values["projects"] = sorted(wanted.projects)
    return chosen, values


def _record(row: Row) -> dict[str, Any]:
    fields = parse(row["event"]) or {}
    columns = {name: row[name] or None for name in ("request_id", "project_id", "token_id")}
    return to_fields(read_record({**fields, **columns, "event_id": row["call_id"]}, UsageEvent))


def _milliseconds(moment: str) -> int:
    try:
        return round(datetime.fromisoformat(moment).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0

"""Marks on the way through a budget: at 50, 80 and 100 % an event, once in a period, over all processes.

A row of the table `budget_marks` decides who is the first, in the transaction that spends. It holds the event
until that is on disk: an event whose process died before is told by another, with the same `event_id`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import floor
from typing import Any
from uuid import UUID, uuid5

from store import limits as periods
from store.engine import Connection, Row
from store.event import BUDGET_TYPE, SCHEMA, Event
from store.ledger.account import Gauge, budgets_of
from store.ledger.claims import Finished, Side
from store.limits import NANO, USD
from store.models import rfc3339

TABLE = "budget_marks"
PERCENTS = (50, 80, 100)
NAMESPACE = UUID("6a2f0b1e-7d0c-5b53-8f0e-3a5f7f3c9d41")
"""Of the ids of marks: the same one has the same id, whoever finds it."""
TELL_SECONDS = 60
"""After so long an event that nobody has told is told by whoever sees it."""
KEEP_SECONDS = 62 * 86400
"""How long marks are kept, beyond every period that ends."""


def mark(connection: Connection, now: float, calls: Iterable[Finished]) -> list[Event]:
    """Look at the budgets that `calls` have spent from; the events of marks that are reached now."""
    calls = list(calls)
    found: list[Event] = []
    sides: tuple[tuple[Side, str], ...] = (("token", "tokens"), ("project", "projects"))
    for side, table in sides:
        ids = sorted({call.token_id if side == "token" else call.project_id for call in calls} - {""})
        if not ids:
            continue
        project = "project_id" if side == "token" else "id AS project_id"
        rows = connection.rows(
            f"SELECT id, {project}, limits FROM {table} WHERE id IN :ids AND limits <> :none",  # noqa: S608
            ids=ids,
            none="{}",
        )
        for row in rows:
            found += _of_subject(connection, now, side, row)
    return found


def told(connection: Connection, now: float, *, ids: Sequence[str]) -> None:  # noqa: ARG001 - as the others
    """These events are on disk."""
    connection.run(f"UPDATE {TABLE} SET told = 1 WHERE id IN :ids", ids=list(ids))  # noqa: S608


def untold(connection: Connection, now: float) -> list[Event]:
    """Events whose process seems to have died before they were on disk; they are this one's now."""
    rows = connection.rows(
        f"SELECT id, event FROM {TABLE} WHERE told = 0 AND at < :before",  # noqa: S608
        before=floor(now) - TELL_SECONDS,
    )
    if rows:
        ids = [row["id"] for row in rows]
        connection.run(f"UPDATE {TABLE} SET at = :now WHERE id IN :ids", now=floor(now), ids=ids)  # noqa: S608
    return [json.loads(row["event"]) for row in rows]


def clean_up(connection: Connection, now: float) -> None:
    """Remove marks of periods that are over for long."""
    connection.run(
        f"DELETE FROM {TABLE} WHERE told = 1 AND starts_at > 0 AND at < :before",  # noqa: S608
        before=floor(now) - KEEP_SECONDS,
    )


def reached(connection: Connection, subjects: Sequence[str]) -> dict[tuple[str, str, int], int]:
    """The highest mark by subject, limit and beginning of the period."""
    rows = connection.rows(
        f"SELECT subject, name, starts_at, MAX(percent) AS percent FROM {TABLE} "  # noqa: S608
        "WHERE subject IN :subjects GROUP BY subject, name, starts_at",
        subjects=list(subjects),
    )
    return {(row["subject"], row["name"], row["starts_at"]): row["percent"] for row in rows}


def _of_subject(connection: Connection, now: float, side: Side, row: Row) -> list[Event]:
    limits = periods.from_json(row["limits"])
    gauges = [gauge for gauge in budgets_of(connection, side, row["id"], limits, now) if gauge.allowed > 0]
    passed = [
        (gauge, percent)
        for gauge in gauges
        for percent in PERCENTS
        if gauge.used * 100 >= gauge.allowed * percent
    ]
    if not passed:
        return []
    before = reached(connection, [row["id"]])
    events = []
    for gauge, percent in passed:
        starts_at = periods.period_start(gauge.limit.partition("/")[2], now) or 0
        if before.get((row["id"], gauge.limit, starts_at), 0) < percent:
            event = _event(connection, now, side, row, gauge, percent, starts_at)
            _insert(connection, now, row["id"], gauge.limit, percent, starts_at, event)
            events.append(event)
    return events


def _insert(
    connection: Connection, now: float, subject: str, name: str, percent: int, starts_at: int, event: Event
) -> None:
    mark = {"id": event["event_id"], "subject": subject, "name": name, "starts_at": starts_at}
    state = {"percent": percent, "at": floor(now), "told": 0, "event": json.dumps(event)}
    connection.insert(TABLE, [mark | state])


def _event(
    connection: Connection, now: float, side: Side, row: Row, gauge: Gauge, percent: int, starts_at: int
) -> Event:
    """See docs/event.md."""
    names = connection.rows("SELECT name FROM projects WHERE id = :id", id=row["project_id"])
    key = f"{row['id']}|{gauge.limit}|{starts_at}|{percent}"
    resets_at = gauge.resets_at
    return {
        "schema": SCHEMA,
        "type": BUDGET_TYPE,
        "event_id": str(uuid5(NAMESPACE, key)),
        "timestamp": rfc3339(datetime.fromtimestamp(now, UTC)),
        "reached": percent,
        "limit": gauge.limit,
        "side": side,
        "project_id": row["project_id"],
        "project_name": names[0]["name"] if names else None,
        "token_id": row["id"] if side == "token" else None,
        "allowed": _number(gauge, gauge.allowed),
        "used": _number(gauge, gauge.used),
        "percent": round(gauge.used * 100 / gauge.allowed, 1),
        "resets_at": None if resets_at is None else rfc3339(datetime.fromtimestamp(resets_at, UTC)),
    }


def _number(gauge: Gauge, amount: int) -> Any:
    """Dollars or tokens, as a number."""
    return amount / NANO if gauge.limit.startswith(USD) else amount

"""Marks on the way through a budget: at 50, 80 and 100 % an event, once in a period, over all processes.

A row of the table `budget_marks` decides who is the first, in the transaction that spends. It holds the event
until that is on disk: an event whose process died before is told by another, with the same `event_id`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from uuid import UUID, uuid5

from store import limits as periods
from store.engine import Connection, Row
from store.event import BUDGET_TYPE, SCHEMA, Event
from store.ledger.account import Gauge, budgets_of
from store.ledger.claims import Finished, Hit, Side
from store.limits import NANO, USD
from store.models import Grant, rfc3339

TABLE = "budget_marks"
PERCENTS = (50, 80, 100)
NAMESPACE = UUID("6a2f0b1e-7d0c-5b53-8f0e-3a5f7f3c9d41")
"""Of the ids of marks: the same one has the same id, whoever finds it."""
TELL_SECONDS = 60
"""After so long an event that nobody has told is told by whoever sees it."""
MOST_KNOWN = 10_000
KEEP_SECONDS = 62 * 86400
"""How long marks are kept, beyond every period that ends."""


class SoftLimits:
    """For the clerk: within its transactions, while it holds the projects' locks."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str, int]] = set()
        """Budgets that were found to be used up: by subject, limit and beginning of the period."""
        self._reached: list[Event] = []

    def spent(self, connection: Connection, now: float, calls: Iterable[Finished]) -> None:
        """`calls` have been added to what was spent."""
        calls = list(calls)
        sides: tuple[tuple[Side, set[str]], ...] = (
            ("token", {call.token_id for call in calls}),
            ("project", {call.project_id for call in calls}),
        )
        for side, ids in sides:
            for row in _limited(connection, side, sorted(ids - {""})):
                for gauge in budgets_of(connection, side, row["id"], periods.from_json(row["limits"]), now):
                    percents = [p for p in PERCENTS if 0 < gauge.allowed * p <= gauge.used * 100]
                    self._reach(connection, now, row, _State.of(side, gauge), percents)

    def refused(self, connection: Connection, now: float, hit: Hit, grant: Grant) -> None:
        """A call was refused, since a budget has not enough left for it."""
        if hit.limit.partition("/")[0] not in periods.UNITS:
            return
        subject = grant.token.id if hit.side == "token" else grant.project.id
        if (subject, hit.limit, _starts_at(hit.limit, now)) in self._known:
            return
        for row in _limited(connection, hit.side, [subject]):
            self._reach(connection, now, row, _State.of(hit.side, hit), PERCENTS)

    def take(self) -> list[Event]:
        """The events of marks that were reached; to be called once they are committed."""
        taken, self._reached = self._reached, []
        return taken

    def forget(self) -> None:
        """The transaction was undone."""
        self._known.clear()
        self._reached.clear()

    def retell(self, connection: Connection, now: float) -> None:
        """Take over events whose process seems to have died before they were on disk."""
        rows = connection.rows(
            f"SELECT id, event FROM {TABLE} WHERE told = 0 AND at < :before",  # noqa: S608
            before=floor(now) - TELL_SECONDS,
        )
        if rows:
            ids = [row["id"] for row in rows]
            connection.run(f"UPDATE {TABLE} SET at = :now WHERE id IN :ids", now=floor(now), ids=ids)  # noqa: S608
        self._reached += [json.loads(row["event"]) for row in rows]

    def _reach(
        self, connection: Connection, now: float, row: Row, state: _State, percents: Sequence[int]
    ) -> None:
        starts_at = _starts_at(state.limit, now)
        place = (row["id"], state.limit, starts_at)
        if not percents or place in self._known:
            return
        highest = reached(connection, [row["id"]]).get(place, 0)
        for percent in percents:
            if percent > highest:
                event = _event(connection, now, row, state, percent, starts_at)
                key = {"id": event["event_id"], "subject": row["id"], "name": state.limit}
                told = {"starts_at": starts_at, "percent": percent, "at": floor(now), "told": 0}
                connection.insert(TABLE, [key | told | {"event": json.dumps(event)}])
                self._reached.append(event)
        if percents[-1] == PERCENTS[-1]:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known.add(place)


def told(connection: Connection, now: float, *, ids: Sequence[str]) -> None:  # noqa: ARG001 - as the others
    """These events are on disk."""
    connection.run(f"UPDATE {TABLE} SET told = 1 WHERE id IN :ids", ids=list(ids))  # noqa: S608


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


@dataclass(frozen=True, slots=True)
class _State:
    """Of one budget."""

    side: Side
    limit: str
    allowed: int
    used: int
    resets_at: int | None

    @classmethod
    def of(cls, side: Side, found: Gauge | Hit) -> _State:
        return cls(side, found.limit, found.allowed, found.used, found.resets_at)


def _limited(connection: Connection, side: Side, ids: Sequence[str]) -> list[Row]:
    """Those of the tokens or projects that have limits."""
    if not ids:
        return []
    table, project = ("tokens", "project_id") if side == "token" else ("projects", "id AS project_id")
    sql = f"SELECT id, {project}, limits FROM {table} WHERE id IN :ids AND limits <> :none"  # noqa: S608
    return connection.rows(sql, ids=list(ids), none="{}")


def _starts_at(limit: str, now: float) -> int:
    return periods.period_start(limit.partition("/")[2], now)


def _event(
    connection: Connection, now: float, row: Row, state: _State, percent: int, starts_at: int
) -> Event:
    """See docs/event.md."""
    names = connection.rows("SELECT name FROM projects WHERE id = :id", id=row["project_id"])
    resets_at = state.resets_at
    return {
        "schema": SCHEMA,
        "type": BUDGET_TYPE,
        "event_id": str(uuid5(NAMESPACE, f"{row['id']}|{state.limit}|{starts_at}|{percent}")),
        "timestamp": rfc3339(datetime.fromtimestamp(now, UTC)),
        "reached": percent,
        "side": state.side,
        "limit": state.limit,
        "allowed": _number(state, state.allowed),
        "used": _number(state, state.used),
        "percent": round(state.used * 100 / state.allowed, 1) if state.allowed else None,
        "resets_at": None if resets_at is None else rfc3339(datetime.fromtimestamp(resets_at, UTC)),
        "project_id": row["project_id"],
        "project_name": names[0]["name"] if names else None,
        "token_id": row["id"] if state.side == "token" else None,
    }


def _number(state: _State, amount: int) -> float | int:
    """Dollars or tokens."""
    return amount / NANO if state.limit.startswith(USD) else amount

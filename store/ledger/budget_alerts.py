"""Give alerts on the way through a budget: an event at 50, 80 and 100 %, once in a period over all processes.

A row of the table `budget_marks` decides who is the first, in the transaction that spends. It holds the event
until that is on disk: an event whose process died before is told by another, with the same `event_id`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from uuid import UUID, uuid5

from store.core.event import BudgetRecord
from store.core.event_fields import read_record, to_fields
from store.core.times import rfc3339
from store.database.engine import Connection, Row
from store.ledger.account import Gauge, budgets_of
from store.ledger.messages import Finished, LimitExceeded
from store.tokens.amounts import NANO, UNITS, USD
from store.tokens.limits import Limits
from store.tokens.models import Grant
from store.tokens.rows import limits_of
from store.tokens.subjects import CLAIMED, KNOWN, Side, Subject, own_name_in, owner_in, subject_of

logger = logging.getLogger(__name__)

TABLE = "budget_marks"
PERCENTS = (50, 80, 100)
NAMESPACE = UUID("6a2f0b1e-7d0c-5b53-8f0e-3a5f7f3c9d41")
"""It is that of the ids of marks: the same one has the same id, whoever finds it."""
TELL_SECONDS = 60
"""After so long an event that nobody has told is told by whoever sees it."""
MOST_KNOWN = 10_000
MOST_OF_CLAIMED = 300
"""Marks of the users of one project (its addresses, a token's sessions ...) that are told in a day of UTC."""
DAY_SECONDS = 86400
KEEP_SECONDS = 62 * 86400
"""It says how long marks are kept, beyond every period that ends."""


class SoftLimits:
    """Works for the ledger: within its transactions, while it holds the projects' locks."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str, int]] = set()
        """Budgets that were found to be used up: by subject, limit and beginning of the period."""
        self._reached: list[BudgetRecord] = []
        self._full: dict[str, int] = {}
        """Owners of claimed subjects, and the day for which no more of theirs are told."""

    def spent(
        self, connection: Connection, now: float, calls: Iterable[Finished], grants: Iterable[Grant] = ()
    ) -> None:
        """Note that `calls` have been added to what was spent; they were reserved by `grants`."""
        calls = list(calls)
        for subject in KNOWN:
            side, ids = subject.side, {call.ids[subject.columns[0]] for call in calls}
            rows = {row["id"]: row for row in _limited(connection, subject, sorted(ids - {""}))}
            limits = {id_: limits_of(side, row) for id_, row in rows.items()}
            for id_, gauge in budgets_of(connection, side, limits, now):
                percents = [p for p in PERCENTS if 0 < gauge.allowed * p <= gauge.used * 100]
                self._reach(connection, now, rows[id_], _State.of(side, gauge), percents)
        for subject in CLAIMED:
            self._claimed_spent(connection, now, subject, grants)

    def _claimed_spent(
        self, connection: Connection, now: float, subject: Subject, grants: Iterable[Grant]
    ) -> None:
        limits, rows = dict[str, Limits](), dict[str, Row]()
        for grant in grants:
            for id_, each in subject.members(grant):
                if id_ and each.budgets:
                    limits[id_], rows[id_] = each, _row(id_, grant)
        for id_, gauge in budgets_of(connection, subject.side, limits, now) if limits else ():
            percents = [p for p in PERCENTS if 0 < gauge.allowed * p <= gauge.used * 100]
            self._reach(connection, now, rows[id_], _State.of(subject.side, gauge), percents)

    def refused(self, connection: Connection, now: float, hit: LimitExceeded, grant: Grant) -> None:
        """Note that a call was refused, since a budget has not enough left for it."""
        subject = subject_of(hit.side)
        if hit.limit.partition("/")[0] not in UNITS:
            return
        if (hit.subject, hit.limit, hit.starts_at) in self._known:
            return
        claimed = not subject.table
        for row in [_row(hit.subject, grant)] if claimed else _limited(connection, subject, [hit.subject]):
            self._reach(connection, now, row, _State.of(hit.side, hit), PERCENTS)

    def take(self) -> list[BudgetRecord]:
        """Give the events of marks that were reached; to be called once they are committed."""
        taken, self._reached = self._reached, []
        return taken

    def forget(self) -> None:
        """Forget what was done in a transaction that was undone."""
        self._known.clear()
        self._reached.clear()
        self._full.clear()

    def retell(self, connection: Connection, now: float) -> None:
        """Take over events whose process seems to have died before they were on disk."""
        rows = connection.rows(
            f"SELECT id, event FROM {TABLE} WHERE told = 0 AND at < :before",  # noqa: S608
            before=floor(now) - TELL_SECONDS,
        )
        if rows:
            ids = [row["id"] for row in rows]
            connection.run(f"UPDATE {TABLE} SET at = :now WHERE id IN :ids", now=floor(now), ids=ids)  # noqa: S608
        self._reached += [read_record(json.loads(row["event"]), BudgetRecord) for row in rows]

    def _reach(
        self, connection: Connection, now: float, row: Row, state: _State, percents: Sequence[int]
    ) -> None:
        starts_at = state.starts_at
        place = (row["id"], state.limit, starts_at)
        if not percents or place in self._known:
            return
        highest = reached(connection, [row["id"]]).get(place, 0)
        if percents[-1] > highest and self._is_full(connection, now, row["id"]):
            return
        for percent in percents:
            if percent > highest:
                record = _record(connection, now, row, state, percent, starts_at)
                key = {"id": record.event_id, "subject": row["id"], "name": state.limit}
                told = {"starts_at": starts_at, "percent": percent, "at": floor(now), "told": 0}
                connection.insert(TABLE, [key | told | {"event": json.dumps(to_fields(record))}])
                self._reached.append(record)
        if percents[-1] == PERCENTS[-1]:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known.add(place)

    def _is_full(self, connection: Connection, now: float, id_: str) -> bool:
        """Tell whether enough was told today of a project's users, or the like: there may be any number."""
        owner, divided, _ = id_.partition("/")
        today = floor(now) // DAY_SECONDS
        if not divided or self._full.get(owner) == today:
            return bool(divided)
        (row,) = connection.rows(
            f"SELECT COUNT(*) AS marks FROM {TABLE} "  # noqa: S608
            "WHERE subject > :first AND subject < :end AND at >= :today",
            first=f"{owner}/",
            end=f"{owner}0",  # the character behind the slash
            today=today * DAY_SECONDS,
        )
        if row["marks"] < MOST_OF_CLAIMED:
            return False
        logger.warning(
            "llmproxy: budget alerts of more %ss than were told of %s today are left out (%d a day); "
            "`llmproxy report budgets` shows them all",
            *(id_.partition(":")[0], owner.partition(":")[2], MOST_OF_CLAIMED),
        )
        if len(self._full) >= MOST_KNOWN:
            self._full.clear()
        self._full[owner] = today
        return True


def told(connection: Connection, now: float, *, ids: Sequence[str]) -> None:  # noqa: ARG001 - as the others
    """Note that these events are on disk."""
    connection.run(f"UPDATE {TABLE} SET told = 1 WHERE id IN :ids", ids=list(ids))  # noqa: S608


def clean_up(connection: Connection, now: float) -> None:
    """Remove marks of periods that are over for long."""
    connection.run(
        f"DELETE FROM {TABLE} WHERE told = 1 AND starts_at > 0 AND at < :before",  # noqa: S608
        before=floor(now) - KEEP_SECONDS,
    )


def reached(connection: Connection, subjects: Sequence[str]) -> dict[tuple[str, str, int], int]:
    """Give the highest mark by subject, limit and beginning of the period."""
    rows = connection.rows(
        f"SELECT subject, name, starts_at, MAX(percent) AS percent FROM {TABLE} "  # noqa: S608
        "WHERE subject IN :subjects GROUP BY subject, name, starts_at",
        subjects=list(subjects),
    )
    return {(row["subject"], row["name"], row["starts_at"]): row["percent"] for row in rows}


@dataclass(frozen=True, slots=True)
class _State:
    """Describes the state of one budget."""

    side: Side
    limit: str
    allowed: int
    used: int
    starts_at: int
    resets_at: int | None

    @classmethod
    def of(cls, side: Side, found: Gauge | LimitExceeded) -> _State:
        return cls(side, found.limit, found.allowed, found.used, found.starts_at, found.resets_at)


def _limited(connection: Connection, subject: Subject, ids: Sequence[str]) -> list[Row]:
    """Give those of the tokens or projects that have limits."""
    if not ids:
        return []
    sql = (
        f"SELECT id, {subject.project_column} AS project_id, limits FROM {subject.table} "  # noqa: S608
        "WHERE id IN :ids AND limits <> :none"
    )
    return connection.rows(sql, ids=list(ids), none="{}")


def _row(id_: str, grant: Grant) -> Row:
    """Give what a mark of a claimed subject says of it."""
    owner = grant.token.id if owner_in(id_) == grant.token.id else None
    return {"id": id_, "project_id": grant.project.id, "token_id": owner, "name": own_name_in(id_) or None}


def _record(
    connection: Connection, now: float, row: Row, state: _State, percent: int, starts_at: int
) -> BudgetRecord:
    names = connection.rows("SELECT name FROM projects WHERE id = :id", id=row["project_id"])
    resets_at = state.resets_at
    return BudgetRecord(
        event_id=str(uuid5(NAMESPACE, f"{row['id']}|{state.limit}|{starts_at}|{percent}")),
        timestamp=rfc3339(datetime.fromtimestamp(now, UTC)),
        reached=percent,
        side=state.side,
        limit=state.limit,
        allowed=_number(state, state.allowed),
        used=_number(state, state.used),
        percent=round(state.used * 100 / state.allowed, 1) if state.allowed else None,
        resets_at=None if resets_at is None else rfc3339(datetime.fromtimestamp(resets_at, UTC)),
        project_id=row["project_id"],
        project_name=names[0]["name"] if names else None,
        token_id=row["id"] if state.side == "token" else row.get("token_id"),
        name=row.get("name"),
    )


def _number(state: _State, amount: int) -> float | int:
    """Give the dollars or tokens."""
    return amount / NANO if state.limit.startswith(USD) else amount

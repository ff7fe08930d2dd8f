"""Hourly sums of calls by project, token, user, model and endpoint: table ``usage_hours``.

They are what is left to report when the spool has been tidied up. A sum is added in the same transaction as
the number of the writer's last event that is in it (table ``rolled``), so each event counts exactly once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from store.engine import Connection
from store.event import USAGE_TYPE

TABLE = "usage_hours"
KEY = ("hour", "project_id", "token_id", "user_id", "model", "endpoint")
FIGURES = (
    *("calls", "refused", "failed", "unreported", "unpriced"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "total_tokens"),
    *("milliseconds", "nano_usd"),
)

MOST = {"user_id": 1000, "model": 200}
"""Different names in one hour of one project; those that come later are counted as OTHER. Both are what
clients write, so there could be any number."""
OTHER = "(other)"
LONGEST = 200
"""Characters of a name; of a longer one the end becomes a hash."""
PLACES = 128
"""Columns of hours of projects whose names are remembered."""
LARGEST = 2**53
"""Beyond this no figure is one."""

SERVED = ("ok", "queued")
"""Outcomes of calls that were answered as they should be."""
UNREPORTED = {
    *("undecodable", "unparsable", "unread", "cut", "no_answer", "not_asked", "zero", "no_usage"),
    "proxy_died",
}
"""Values of `usage_missing_code` of calls that should have told their usage and did not."""

Key = tuple[int, str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """What one call adds, and to what."""

    key: Key
    figures: Mapping[str, int]


def line_of(event: Mapping[str, Any]) -> Line | None:
    """The line of an event; None of a record that is no call (a session's, a writer's)."""
    if event.get("type") != USAGE_TYPE:
        return None
    refused = event.get("outcome") == "refused"
    usage, cost, user = (_map(event.get(name)) for name in ("usage", "cost", "user"))
    figures = {
        "calls": 1,
        "refused": int(refused),
        "failed": int(not refused and event.get("outcome") not in SERVED),
        "unreported": int(not refused and str(event.get("usage_missing_code")) in UNREPORTED),
        "unpriced": int("usd" in cost and cost["usd"] is None),
        "input_tokens": _whole(usage.get("input_tokens")),
        "cached_tokens": _whole(_map(usage.get("input_tokens_details")).get("cached_tokens")),
        "output_tokens": _whole(usage.get("output_tokens")),
        "reasoning_tokens": _whole(_map(usage.get("output_tokens_details")).get("reasoning_tokens")),
        "total_tokens": _whole(usage.get("total_tokens")),
        "milliseconds": _whole(usage.get("seconds"), 1000),
        "nano_usd": nano_usd(cost.get("usd")) or 0,
    }
    key = (
        int(seconds_of(event.get("timestamp"))) // 3600,
        _name(event.get("project_id")),
        _name(event.get("token_id")),
        _name(user.get("id")),
        _name(event.get("model")),
        _name(event.get("endpoint")),
    )
    return Line(key, figures)


def nano_usd(usd: object) -> int | None:
    """A price in billionths of a dollar, rounded up; None for what is no price."""
    try:
        nano = (Decimal(str(usd)) * 10**9).to_integral_value(ROUND_CEILING)
    except InvalidOperation:
        return None
    return int(nano) if nano.is_finite() and 0 <= nano < LARGEST * 10**3 else None


def seconds_of(timestamp: object) -> float:
    """Seconds since 1970; now for what is no time."""
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return time.time()


@dataclass(slots=True)
class _Names:
    """Those of one column in one hour of one project."""

    known: set[str] = field(default_factory=set)
    new: set[str] = field(default_factory=set)
    """Those of them that get their first row now."""
    full: bool = False


class RollUps:
    """Adds lines to the table. For one connection at a time, within a transaction of its caller."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, int, str], _Names] = {}

    def add(self, connection: Connection, lines: Iterable[Line]) -> None:
        """Add `lines`, those with the same key together."""
        for names in self._names.values():
            names.new.clear()
        sums: dict[Key, dict[str, int]] = {}
        for line in lines:
            total = sums.setdefault(self._folded(connection, line.key), dict.fromkeys(FIGURES, 0))
            for name, figure in line.figures.items():
                total[name] += figure
        # In one order, so that two processes never wait for each other in a circle.
        for key in sorted(sums):
            connection.add(TABLE, dict(zip(KEY, key, strict=True)), sums[key])

    def forget(self) -> None:
        """The transaction was undone: what was added in it is not there."""
        self._names.clear()

    def _folded(self, connection: Connection, key: Key) -> Key:
        hour, project_id, token_id, user_id, model, endpoint = key
        user_id = self._allowed(connection, ("user_id", hour, project_id), user_id)
        model = self._allowed(connection, ("model", hour, project_id), model)
        return hour, project_id, token_id, user_id, model, endpoint

    def _allowed(self, connection: Connection, place: tuple[str, int, str], name: str) -> str:
        """The name itself, or OTHER where there are too many."""
        names = self._names.get(place)
        if names is None:
            if len(self._names) >= PLACES:
                self._names.pop(next(iter(self._names)))
            names = self._names[place] = _Names()
        if not name or name in names.known:
            return name
        column, hour, project_id = place
        rows = f"FROM {TABLE} WHERE hour = :hour AND project_id = :project_id"
        values = {"hour": hour, "project_id": project_id}
        if not connection.rows(f"SELECT 1 AS one {rows} AND {column} = :name LIMIT 1", **values, name=name):
            if not names.full:
                there = connection.rows(f"SELECT COUNT(DISTINCT {column}) AS number {rows}", **values)
                names.full = there[0]["number"] + len(names.new) >= MOST[column]
            if names.full:
                return OTHER
            names.new.add(name)
        names.known.add(name)
        return name


def last_rolled(connection: Connection, writer: str) -> int:
    """The number of the writer's last event that is in the store."""
    rows = connection.rows("SELECT seq FROM rolled WHERE writer = :writer", writer=writer)
    return int(rows[0]["seq"]) if rows else 0


def move_rolled(connection: Connection, writer: str, sequence: int) -> None:
    """All events of the writer up to this one are in the store, once the transaction is committed."""
    moved = connection.run(
        "UPDATE rolled SET seq = :sequence WHERE writer = :writer", writer=writer, sequence=sequence
    )
    if not moved:
        connection.insert("rolled", [{"writer": writer, "seq": sequence}])


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _whole(value: object, factor: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LARGEST:
        return 0
    return round(value * factor)


def _name(value: object) -> str:
    """A name that every database, terminal and table takes as it is; clients may write anything."""
    if value is None:
        return ""
    text = "".join(character if character.isprintable() else "?" for character in str(value)).strip()
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 17]}~{hashlib.sha256(text.encode()).hexdigest()[:16]}"

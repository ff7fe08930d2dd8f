"""Sum calls by hour, project, token, user, model and endpoint: table ``usage_hours``.

They are what is left to report when the spool has been tidied up. A sum is added in the same transaction as
the number of the writer's last event that is in it (table ``rolled``), so each event counts exactly once.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_CEILING, Decimal, InvalidOperation

from msgspec import UNSET, UnsetType

from store.core.codes import GAP_OF, SERVED, Outcome
from store.core.event import Usage, UsageEvent
from store.database.engine import Connection, Row
from store.usage import timings

TABLE, DAYS = "usage_hours", "usage_days"
KEY = ("hour", "project_id", "token_id", "user_id", "model", "endpoint")
LABELS = "label_hours"
KEY_OF_LABELS = ("hour", "project_id", "label", "value", "token_id", "model", "endpoint")
KEY_OF_DAYS = ("hour", "project_id", "token_id", "model", "endpoint")
"""It is that of the sums by the day of UTC, whose first hour `hour` is."""
FIGURES = (
    *("calls", "refused", "failed", "unreported", "unpriced", "lower_bound", "approximate"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "total_tokens"),
    *("milliseconds", "nano_usd"),
    *("cache_hits", "saved_tokens", "saved_nano_usd"),
)

MOST = {"user_id": 1000, "model": 200, "value": 1000}
"""Different names in one hour of one project (values: of one label); those that come later are counted as
OTHER. All are what clients write, so there could be any number."""
OTHER = "(other)"
LONGEST = 200
"""Characters of a name; of a longer one the end becomes a hash."""
LONGEST_VALUE = 128
"""It is that of a label."""
PLACES = 128
"""Columns of hours of projects whose names are remembered."""
LARGEST = 2**53
"""Beyond this no figure is one."""

AT_LEAST = "lower_bound"
"""It says why a cost that is known is not the whole (docs/cost.md)."""
UNREPORTED = frozenset(code for code, gap in GAP_OF.items() if gap)
"""It says why calls that should have told their usage did not."""

Key = tuple[int, str, str, str, str, str]
Place = Mapping[str, int | str]
"""Columns of rows among which names are told apart."""


@dataclass(frozen=True, slots=True)
class Line:
    """Says what one call adds, and to what."""

    key: Key
    figures: Mapping[str, int]
    timings: Sequence[tuple[str, int]] = ()
    """Ranges that its times are in (:mod:`store.usage.timings`)."""
    labels: Sequence[tuple[str, str]] = ()
    """It is what its headers say for labels, by their names, where its token does not."""


def line_of(event: UsageEvent) -> Line:
    """Give the line of a call."""
    refused = event.outcome == Outcome.REFUSED
    usage, cost = event.usage or Usage(), event.cost
    figures = {
        "calls": 1,
        "refused": int(refused),
        "failed": int(not refused and event.outcome not in SERVED),
        "unreported": int(not refused and event.usage_missing_code in UNREPORTED),
        "unpriced": int(cost is not None and cost.usd is None),
        "lower_bound": int(is_lower_bound(event)),
        "approximate": int(is_approximate(event)),
        "input_tokens": counted(usage.input_tokens) or 0,
        "cached_tokens": counted(usage.input_tokens_details.get("cached_tokens")) or 0,
        "output_tokens": counted(usage.output_tokens) or 0,
        "reasoning_tokens": counted(usage.output_tokens_details.get("reasoning_tokens")) or 0,
        "total_tokens": counted(usage.total_tokens) or 0,
        "milliseconds": _milliseconds(usage.seconds),
        "nano_usd": (nano_usd(cost.usd) if cost else None) or 0,
        **_saved(event),
    }
    key = (
        int(seconds_of(event.timestamp)) // 3600,
        name_of(event.project_id),
        name_of(event.token_id),
        name_of(event.user.id if event.user else None),
        name_of(event.model),
        name_of(event.endpoint),
    )
    labels = [
        (name, name_of(value, LONGEST_VALUE))
        for name, value in event.request_metadata.items()
        if name not in event.token_metadata
    ]
    return Line(key, figures, () if refused else tuple(timings.timings_of(event)), tuple(labels))


def is_lower_bound(event: UsageEvent) -> bool:
    """Tell whether a call has used, or cost, at least what its event says, and perhaps more."""
    usage, cost = event.usage, event.cost
    return (usage is not None and usage.complete is False) or (cost is not None and cost.reason == AT_LEAST)


def is_approximate(event: UsageEvent) -> bool:
    """Tell whether figures of a call could only be estimated."""
    return any(one is not None and bool(one.approximate) for one in (event.usage, event.cost))


def _saved(event: UsageEvent) -> dict[str, int]:
    """Give what an answer from the cache would have used."""
    if event.saved is UNSET:
        return {"cache_hits": 0, "saved_tokens": 0, "saved_nano_usd": 0}
    tokens, usd = counted(event.saved.total_tokens), nano_usd(event.saved.usd)
    return {"cache_hits": 1, "saved_tokens": tokens or 0, "saved_nano_usd": usd or 0}


def counted(value: object) -> int | None:
    """Give a count that can be added up; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LARGEST:
        return None
    return round(value)


def usd_text(nano: int) -> str:
    """Write dollars as an exact decimal."""
    return f"{Decimal(nano).scaleb(-9).normalize():f}"


def nano_usd(usd: str | None) -> int | None:
    """Give a price in billionths of a dollar, rounded up; None for what is no price."""
    try:
        nano = (Decimal(str(usd)) * 10**9).to_integral_value(ROUND_CEILING)
    except InvalidOperation:
        return None
    return int(nano) if nano.is_finite() and 0 <= nano < LARGEST * 10**3 else None


def seconds_of(timestamp: str | None) -> float:
    """Give the seconds since 1970; now for what is no time."""
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return time.time()


def _row(names: Sequence[str], key: Sequence[str | int], figures: Mapping[str, int]) -> Row:
    return {**dict(zip(names, key, strict=True)), **figures}


@dataclass(slots=True)
class _Names:
    """Holds the names of one column in one hour of one project."""

    known: set[str] = field(default_factory=set)
    new: set[str] = field(default_factory=set)
    """Those of them that get their first row now."""
    full: bool = False


class RollUps:
    """Adds lines to the table. For one connection at a time, within a transaction of its caller."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, ...], _Names] = {}

    def add(self, connection: Connection, lines: Iterable[Line]) -> None:
        """Add `lines`, those with the same key together."""
        for names in self._names.values():
            names.new.clear()
        sums: dict[Key, dict[str, int]] = {}
        labels: dict[tuple[int, str, str, str, str, str, str], dict[str, int]] = {}
        times: Counter[tuple[int, str, str, str, int]] = Counter()
        for line in lines:
            hour, project_id, *_, endpoint = line.key
            times.update((hour, project_id, endpoint, *timing) for timing in line.timings)
            folded = self._folded(connection, line.key)
            totals = [sums.setdefault(folded, dict.fromkeys(FIGURES, 0))]
            for label, value in line.labels:
                place = self._of_label(connection, folded, label, value)
                totals.append(labels.setdefault(place, dict.fromkeys(FIGURES, 0)))
            for total in totals:
                for name, figure in line.figures.items():
                    total[name] += figure
        # In one order, so that two processes never wait for each other in a circle.
        connection.add(TABLE, KEY, [_row(KEY, key, sums[key]) for key in sorted(sums)])
        days: dict[tuple[int, str, str, str, str], dict[str, int]] = {}
        for (hour, project_id, token_id, _, model, endpoint), figures in sums.items():
            day = (hour - hour % 24, project_id, token_id, model, endpoint)
            total = days.setdefault(day, dict.fromkeys(FIGURES, 0))
            for name in FIGURES:
                total[name] += figures[name]
        rows = [_row(KEY_OF_DAYS, of_day, days[of_day]) for of_day in sorted(days)]
        connection.add(DAYS, KEY_OF_DAYS, rows)
        rows = [_row(KEY_OF_LABELS, of_label, labels[of_label]) for of_label in sorted(labels)]
        connection.add(LABELS, KEY_OF_LABELS, rows)
        timings.add(connection, times)

    def forget(self) -> None:
        """Forget what was added in the transaction, which was undone: it is not there."""
        self._names.clear()

    def _folded(self, connection: Connection, key: Key) -> Key:
        hour, project_id, token_id, user_id, model, endpoint = key
        place: Place = {"hour": hour, "project_id": project_id}
        user_id = self._allowed(connection, TABLE, "user_id", place, user_id)
        model = self._allowed(connection, TABLE, "model", place, model)
        return hour, project_id, token_id, user_id, model, endpoint

    def _of_label(
        self, connection: Connection, key: Key, label: str, value: str
    ) -> tuple[int, str, str, str, str, str, str]:
        hour, project_id, token_id, _, model, endpoint = key
        place: Place = {"hour": hour, "project_id": project_id, "label": label}
        value = self._allowed(connection, LABELS, "value", place, value)
        return hour, project_id, label, value, token_id, model, endpoint

    def _allowed(self, connection: Connection, table: str, column: str, within: Place, name: str) -> str:
        """Give the name itself, or OTHER where there are too many."""
        place = (column, *map(str, within.values()))
        names = self._names.get(place)
        if names is None:
            if len(self._names) >= PLACES:
                self._names.pop(next(iter(self._names)))
            names = self._names[place] = _Names()
        if not name or name in names.known:
            return name
        rows = f"FROM {table} WHERE {' AND '.join(f'{each} = :{each}' for each in within)}"
        if not connection.rows(f"SELECT 1 AS one {rows} AND {column} = :name LIMIT 1", **within, name=name):
            if not names.full:
                there = connection.rows(f"SELECT COUNT(DISTINCT {column}) AS number {rows}", **within)
                names.full = there[0]["number"] + len(names.new) >= MOST[column]
            if names.full:
                return OTHER
            names.new.add(name)
        names.known.add(name)
        return name


def last_rolled(connection: Connection, writer: str) -> int:
    """Give the number of the writer's last event that is in the store."""
    rows = connection.rows("SELECT seq FROM rolled WHERE writer = :writer", writer=writer)
    return int(rows[0]["seq"]) if rows else 0


def move_rolled(connection: Connection, writer: str, sequence: int) -> None:
    """Note that the writer's events up to this one are in the store, once the transaction is committed."""
    moved = connection.run(
        "UPDATE rolled SET seq = :sequence WHERE writer = :writer", writer=writer, sequence=sequence
    )
    if not moved:
        connection.insert("rolled", [{"writer": writer, "seq": sequence}])


def _milliseconds(seconds: float | UnsetType) -> int:
    return 0 if seconds is UNSET or not 0 <= seconds < LARGEST else round(seconds * 1000)


def name_of(value: str | None, longest: int = LONGEST) -> str:
    """Give a name that every database, terminal and table takes as it is; clients may write anything."""
    if value is None:
        return ""
    text = value.strip()
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "?" for character in value).strip()
    if len(text) <= longest:
        return text
    return f"{text[: longest - 17]}~{hashlib.sha256(text.encode()).hexdigest()[:16]}"

"""Break usage down by the largest groups, over time, beside the period before, as a page or a portal asks.

However many groups there are, no more than the largest are told apart; all others are one row, so that the
rows always come to the total. `store.usage.reports` gives all groups instead, one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from store.core.errors import Invalid
from store.core.times import rfc3339
from store.database.engine import Connection, Row
from store.usage.periods import moment_of, name_of, next_of
from store.usage.reports import CHUNK, COLUMNS, TIMES, Usage, figures, hour_of, names_of, sums, sums_of_label
from store.usage.rollups import FIGURES, TABLE
from store.usage.timings import percentiles

LABEL = "label:"
"""``label:team`` groups by the value that the tokens' metadata, else their project's, have now; of calls of
tokens that have none, by what their headers said."""
CLAIMED = "value"
"""The column with that."""
MOST_ROWS = 20_000
"""Periods times groups in one answer."""
ROWS_AT_ONCE = 20_000
"""Rows that are read at a time."""

HOURS = {"hour": 1, "day": 24, "week": 7 * 24, "month": 30 * 24}
"""It is that of a period, about."""

Key = tuple[str | None, ...]
Sums = dict[str, int]


@dataclass(frozen=True, slots=True)
class Question:
    """Asks for a usage, by at most `top` groups."""

    usage: Usage
    top: int
    compare: bool = False
    """It tells whether to tell the time before, as long as the one that is asked for."""


def break_down(connection: Connection, asked: Question, now: datetime) -> dict[str, Any]:
    """Answer as JSON: rows by time, and within one by cost; their total; and that of the time before.

    Raises Invalid where the answer would have more than MOST_ROWS rows, or where nothing says how long the
    time before is.
    """
    usage = _within_bounds(connection, asked.usage, now)
    groups = _Groups(connection, usage)
    largest = groups.largest(usage, asked.top)
    times = [way for way in usage.by if way in TIMES]
    rows = list(_over_time(groups, usage, times, largest) if times else groups.rows(usage, largest))
    answer: dict[str, Any] = {
        "by": list(usage.by),
        "tz": str(usage.zone),
        "since": usage.since and rfc3339(usage.since),
        "until": usage.until and rfc3339(usage.until),
        "data": rows,
        "total": figures(_total(connection, usage)),
        "timings": _timings(connection, usage),
        "before": None,
    }
    if asked.compare:
        before = _before(asked.usage, usage)
        answer["before"] = {
            "since": before.since and rfc3339(before.since),
            "until": before.until and rfc3339(before.until),
            "total": figures(_total(connection, before)),
            "timings": _timings(connection, before),
        }
        if not times:
            _compare(rows, groups.rows(before, largest), usage.by)
    return answer


def _within_bounds(connection: Connection, usage: Usage, now: datetime) -> Usage:
    """Fill in where the time begins and ends, so that every part of the answer means the same hours."""
    (row,) = connection.rows(f"SELECT MIN(hour) AS first FROM {TABLE}")  # noqa: S608
    first = hour_of(usage.since)
    if first is None:
        first = row["first"] if row["first"] is not None else hour_of(now)
    end = hour_of(usage.until or now, up=True)
    assert first is not None
    assert end is not None
    return replace(usage, since=moment_of(first), until=moment_of(max(first, end)))


def _before(asked: Usage, usage: Usage) -> Usage:
    """Return the time as long as that which is asked for, and right before it."""
    if asked.since is None:
        raise Invalid("compare: say since when; the time before is as long as what is asked for.")
    assert usage.since is not None
    assert usage.until is not None
    length = max(usage.until - usage.since, timedelta(hours=1))
    return replace(usage, since=usage.since - length, until=usage.since)


@dataclass(slots=True)
class _Groups:
    """Groups calls by all that is no time."""

    connection: Connection
    usage: Usage
    ways: Sequence[str] = field(init=False)
    columns: list[str] = field(init=False)
    labels: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Metadata by token, as far as they were asked for."""

    def __post_init__(self) -> None:
        self.ways = [way for way in self.usage.by if way not in TIMES]
        columns = ["token_id" if way.startswith(LABEL) else COLUMNS[way] for way in self.ways]
        self.columns = list(dict.fromkeys(columns))

    @property
    def labelled(self) -> bool:
        return any(way.startswith(LABEL) for way in self.ways)

    def largest(self, usage: Usage, top: int) -> list[Key]:
        """Name the `top` groups that cost most in all."""
        if not self.labelled:
            largest = top if self.columns else None
            found = sums(self.connection, usage, self.columns, largest=largest, by_day=True)
            return [self.key(row) for row in found]
        totals: dict[Key, Sums] = {}
        for row in self.read(usage, []):
            _add(totals.setdefault(self.key(row), _nothing()), row)
        return sorted(totals, key=lambda key: (-totals[key]["nano_usd"], -totals[key]["calls"]))[:top]

    def rows(self, usage: Usage, largest: Sequence[Key]) -> list[dict[str, Any]]:
        """Give a row for each of the largest groups that has calls, and one for all others together."""
        wanted, found = set(largest), dict[Key, Sums]()
        for row in self.read(usage, largest) if largest else []:
            if (key := self.key(row)) in wanted:
                _add(found.setdefault(key, _nothing()), row)
        return self.shown(found, largest, _total(self.connection, usage), {})

    def shown(
        self, found: Mapping[Key, Sums], largest: Sequence[Key], total: Sums, period: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Make the rows of one period."""
        keys = [key for key in largest if key in found and found[key]["calls"]]
        keys.sort(key=lambda key: (-found[key]["nano_usd"], -found[key]["calls"]))
        names = self.names(largest)
        rows = [
            {**period, **dict(zip(self.ways, key, strict=True)), **names[key], "rest": False}
            | figures(found[key])
            for key in keys
        ]
        rest = {name: total[name] - sum(found[key][name] for key in keys) for name in FIGURES}
        if self.ways and rest["calls"] > 0:
            nobody = dict.fromkeys([*self.ways, *next(iter(names.values()), {})])
            rows.append({**period, **nobody, "rest": True} | figures(rest))
        elif not self.ways and total["calls"]:
            rows = [{**period, "rest": False, **figures(total)}]
        return rows

    def names(self, keys: Sequence[Key]) -> dict[Key, dict[str, Any]]:
        ways = [way for way in self.ways if not way.startswith(LABEL)]
        places = [self.ways.index(way) for way in ways]
        short = {key: tuple(key[place] for place in places) for key in keys}
        found = names_of(self.connection, ways, short.values())
        return {key: found[named] for key, named in short.items()}

    def key(self, row: Row) -> Key:
        return tuple(
            row.get(CLAIMED) or self._label(str(row["token_id"]), way.removeprefix(LABEL))
            if way.startswith(LABEL)
            else str(row[COLUMNS[way]]) or None
            for way in self.ways
        )

    def read(self, usage: Usage, largest: Sequence[Key], *columns: str) -> list[Row]:
        """Sum by the groups' columns and `columns`; of the largest groups, and perhaps some others."""
        only = {
            COLUMNS[way]: {key[place] or "" for key in largest}
            for place, way in enumerate(self.ways)
            if not way.startswith(LABEL) and largest
        }
        found = list(
            sums(self.connection, usage, [*columns, *self.columns], only=only, by_day=_by_day(usage))
        )
        if self.labelled:
            self._learn([str(row["token_id"]) for row in found])
            found += self._claimed(usage, only, columns)
        return found

    def _claimed(
        self, usage: Usage, only: Mapping[str, Collection[str]], columns: Sequence[str]
    ) -> Iterator[Row]:
        """Move the calls whose headers name a value from where their tokens put them to that value.

        The sums by value know no user, and nothing of two labels together: then none is moved.
        """
        labels = [way.removeprefix(LABEL) for way in self.ways if way.startswith(LABEL)]
        if len(labels) > 1 or COLUMNS["user"] in self.columns:
            return
        chosen = [*columns, *self.columns]
        for row in sums_of_label(self.connection, usage, labels[0], chosen, only):
            yield row
            yield {name: row[name] for name in chosen} | {name: -int(row[name] or 0) for name in FIGURES}

    def _label(self, token_id: str, name: str) -> str | None:
        return self.labels.get(token_id, {}).get(name)

    def _learn(self, token_ids: Sequence[str]) -> None:
        unknown = [one for one in dict.fromkeys(token_ids) if one and one not in self.labels]
        for start in range(0, len(unknown), CHUNK):
            portion = unknown[start : start + CHUNK]
            self.labels.update({one: {} for one in portion})
            for row in self.connection.rows(
                "SELECT tokens.id AS id, tokens.metadata AS own, projects.metadata AS shared FROM tokens "
                "JOIN projects ON projects.id = project_id WHERE tokens.id IN :ids",
                ids=portion,
            ):
                self.labels[row["id"]] = {**json.loads(row["shared"]), **json.loads(row["own"])}


def _over_time(
    groups: _Groups, usage: Usage, times: Sequence[str], largest: Sequence[Key]
) -> Iterator[dict[str, Any]]:
    """Give the rows of each period that has calls, in the order of time."""
    shortest = next(way for way in TIMES if way in times)
    # Of whole periods nothing is read by the hour: the store sums them up twenty times as fast.
    columns = ["hour"] if shortest == "hour" else []
    for start, end in _portions(usage, shortest, len(largest) or 1):
        part = replace(usage, since=moment_of(start), until=moment_of(end))
        totals: dict[int, Sums] = {}
        for row in sums(groups.connection, part, columns, by_day=_by_day(usage)):
            if row["calls"]:
                _add(totals.setdefault(row["hour"] if columns else start, _nothing()), row)
        found: dict[int, dict[Key, Sums]] = {}
        wanted = set(largest)
        for row in groups.read(part, largest, *columns) if groups.ways and totals else []:
            if (key := groups.key(row)) in wanted:
                first = row["hour"] if columns else start
                _add(found.setdefault(first, {}).setdefault(key, _nothing()), row)
        for first in sorted(totals):
            period = {way: name_of(way, first, usage.zone) for way in times}
            yield from groups.shown(found.get(first, {}), largest, totals[first], period)


def _portions(usage: Usage, shortest: str, groups: int) -> Iterator[tuple[int, int]]:
    """Give the periods; of hours as many at once as have about ROWS_AT_ONCE rows at most."""
    start, until = hour_of(usage.since), hour_of(usage.until)
    assert start is not None
    assert until is not None
    periods = (until - start) / HOURS[shortest]
    if periods * groups > MOST_ROWS:
        raise Invalid(
            f"by {shortest} there would be some {round(periods * groups):,} rows, and {MOST_ROWS:,} are the "
            "most: ask for a shorter time, longer periods, or a smaller `top`."
        )
    length = max(1, ROWS_AT_ONCE // groups)
    while start < until:
        end = start + length if shortest == "hour" else next_of(shortest, start, usage.zone)
        yield start, min(end, until)
        start = end


def _by_day(usage: Usage) -> bool:
    """Tell whether sums of days of UTC, with hours added and taken off, are as exact as hours."""
    return "hour" not in usage.by


def _compare(rows: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]], ways: Sequence[str]) -> None:
    """Put beside each row the figures of the same group before."""

    def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row["rest"], *(row.get(way) for way in ways)

    earlier = {key(row): row for row in before}
    nothing = figures(_nothing())
    for row in rows:
        row["before"] = {name: earlier.get(key(row), nothing)[name] for name in nothing}


def _timings(connection: Connection, usage: Usage) -> dict[str, dict[str, int | None]] | None:
    """Give percentiles of the same time and projects; of single tokens they are not known."""
    since, until = hour_of(usage.since), hour_of(usage.until)
    if usage.token_id is not None or since is None or until is None:
        return None
    return percentiles(connection, since, until, project_id=usage.project_id, projects=usage.projects)


def _total(connection: Connection, usage: Usage) -> Sums:
    (row,) = sums(connection, usage, [], by_day=True)
    return {name: int(row[name] or 0) for name in FIGURES}


def _nothing() -> Sums:
    return dict.fromkeys(FIGURES, 0)


def _add(total: Sums, row: Row) -> None:
    for name in FIGURES:
        total[name] += int(row[name] or 0)

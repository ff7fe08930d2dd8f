"""Count how long calls took, by the hour: table ``timing_hours`` counts calls by ranges of milliseconds.

From the counts come percentiles of any time and project, without any single call being kept. What is between
two bounds is told by even distribution, so a percentile is as exact as its range is narrow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from store.core.event import UsageEvent
from store.database.engine import Connection

TABLE, DAYS = "timing_hours", "timing_days"
KEY = ("hour", "project_id", "endpoint", "measure", "bucket")
BOUNDS = (
    *(50, 100, 200, 350, 500, 750, 1000, 1500, 2000, 3000, 5000, 7500, 10_000, 15_000, 20_000, 30_000),
    *(45_000, 60_000, 90_000, 120_000, 180_000, 300_000, 600_000, 1_800_000, 3_600_000),
)
"""Milliseconds: a call of just so many is in the range that ends there; what is longer in the last one."""
MEASURES = {
    "duration": "duration_ms",
    "first_byte": "time_to_first_byte_ms",
    "first_token": "time_to_first_token_ms",
}
"""Fields of the event."""
PERCENTILES = (50, 95, 99)


def timings_of(event: UsageEvent) -> Iterator[tuple[str, int]]:
    """Give the ranges that a call counts in: measure, and the range's upper bound."""
    for measure, name in MEASURES.items():
        value = getattr(event, name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            yield measure, BOUNDS[min(bisect_left(BOUNDS, value), len(BOUNDS) - 1)]


def add(connection: Connection, times: Mapping[tuple[int, str, str, str, int], int]) -> None:
    """Add counts by the table's key; to those of the days of UTC (by their first hours) as well."""
    days: Counter[tuple[int, str, str, str, int]] = Counter()
    for (hour, *place), calls in times.items():
        days[hour - hour % 24, *place] += calls  # type: ignore[index]
    for table, counts in ((TABLE, times), (DAYS, days)):
        rows = [{**dict(zip(KEY, key, strict=True)), "calls": counts[key]} for key in sorted(counts)]
        connection.add(table, KEY, rows)


def percentiles(
    connection: Connection,
    since: int,
    until: int,
    *,
    project_id: str | None = None,
    projects: Sequence[str] | None = None,
) -> dict[str, dict[str, int | None]]:
    """Return for each measure how many calls have it, and its percentiles in ms; null where there are none.

    `since` and `until` are hours, the latter left out.
    """
    # Whole days are read from their sums, and the hours before and behind them one by one.
    first, end = -(-since // 24) * 24, until // 24 * 24
    if first >= end:
        first = end = until
    values = {"since": since, "first_day": first, "end_of_days": end, "until": until}
    conditions = list[str]()
    chosen: dict[str, Any] = {}
    if project_id is not None:
        conditions.append("project_id = :project_id")
        chosen["project_id"] = project_id
    if projects is not None:
        conditions.append("project_id IN :projects")
        chosen["projects"] = list(projects)
    also = "".join(f" AND {condition}" for condition in conditions)
    parts = " UNION ALL ".join(
        f"SELECT measure, bucket, calls FROM {table} WHERE hour >= :{begin} AND hour < :{border}{also}"  # noqa: S608
        for table, begin, border in (
            (TABLE, "since", "first_day"),
            (DAYS, "first_day", "end_of_days"),
            (TABLE, "end_of_days", "until"),
        )
    )
    rows = connection.rows(
        f"SELECT measure, bucket, SUM(calls) AS calls FROM ({parts}) parts GROUP BY measure, bucket",  # noqa: S608
        **values,
        **chosen,
    )
    found: dict[str, dict[int, int]] = {measure: {} for measure in MEASURES}
    for row in rows:
        found.setdefault(str(row["measure"]), {})[int(row["bucket"])] = int(row["calls"])
    return {
        f"{measure}_ms": {
            "calls": sum(counts.values()),
            **{f"p{percent}": percentile(counts, percent) for percent in PERCENTILES},
        }
        for measure, counts in found.items()
    }


def percentile(counts: Mapping[int, int], percent: int) -> int | None:
    """Return the value below which so many percent of the calls are; None of no calls.

    >>> percentile({100: 90, 200: 10}, 95)
    150
    """
    wanted = sum(counts.values()) * percent / 100
    if not wanted:
        return None
    below = 0
    for bound in sorted(counts):
        if below + counts[bound] >= wanted:
            place = bisect_left(BOUNDS, bound)
            start = BOUNDS[place - 1] if place else 0
            return round(start + (bound - start) * (wanted - below) / counts[bound])
        below += counts[bound]
    return max(counts)

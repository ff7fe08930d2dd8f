"""How long calls took, from counts of ranges, on each engine."""

from __future__ import annotations

import random

import pytest

from store.tokens.store import TokenStore
from store.usage.rollups import RollUps, line_of, seconds_of
from store.usage.timings import BOUNDS, percentile, percentiles
from tests.events import typed

HOUR = 493_000
AT = "2026-03-29T16:00:01.000Z"


def test_percentiles_of_a_time_and_a_project(store: TokenStore) -> None:
    call = {"timestamp": AT, "endpoint": "chat", "outcome": "ok"}
    calls = [
        typed(call | {"project_id": project, "duration_ms": duration, **more})
        for project, duration, more in (
            *(("a", 80, {"time_to_first_byte_ms": 30}) for _ in range(90)),
            *(("a", 9_000, {}) for _ in range(10)),
            ("b", 4_000_000, {}),
        )
    ]
    calls.append(typed(call | {"project_id": "a", "outcome": "refused", "duration_ms": 1}))
    with store.connection.transaction():
        RollUps().add(store.connection, map(line_of, calls))
        RollUps().add(store.connection, map(line_of, calls))
    found = percentiles(store.connection, HOUR, HOUR + 1, project_id="a")
    duration = found["duration_ms"]
    assert duration["calls"] == 200
    assert duration["p50"] is not None
    assert duration["p95"] is not None
    assert 50 < duration["p50"] <= 100
    assert 7500 < duration["p95"] <= 10_000
    assert (found["first_byte_ms"]["calls"], found["first_token_ms"]["p95"]) == (180, None)
    assert (
        percentiles(store.connection, HOUR, HOUR + 1, projects=["b"])["duration_ms"]["p50"]
        == (BOUNDS[-2] + BOUNDS[-1]) // 2
    )
    assert percentiles(store.connection, HOUR + 1, HOUR + 2)["duration_ms"]["calls"] == 0


def test_long_times_are_read_by_the_day_and_come_to_the_same(store: TokenStore) -> None:
    chance = random.Random(1)
    calls = [
        typed(
            {
                "timestamp": f"2026-03-{chance.randrange(26, 30)}T{chance.randrange(24):02}:00:01.000Z",
                "endpoint": "chat",
                "outcome": "ok",
                "project_id": chance.choice("ab"),
                "duration_ms": chance.randrange(100_000),
            }
        )
        for _ in range(400)
    ]
    for part in (calls[:150], calls[150:]):
        with store.connection.transaction():
            RollUps().add(store.connection, map(line_of, part))
    for since, until in ((-50, 10), (-40, -20), (-36, 2), (0, 1), (-88, 30), (3, 3)):
        hours = range(HOUR + since, HOUR + until)
        for projects in (None, ["a"], ["a", "b"]):
            wanted = [
                call
                for call in calls
                if int(seconds_of(call.timestamp)) // 3600 in hours
                and (projects is None or call.project_id in projects)
            ]
            found = percentiles(store.connection, HOUR + since, HOUR + until, projects=projects)
            assert found["duration_ms"]["calls"] == len(wanted)
    (days,) = store.connection.rows("SELECT COUNT(*) AS rows_, SUM(calls) AS calls FROM timing_days")
    (hours_,) = store.connection.rows("SELECT COUNT(*) AS rows_ FROM timing_hours")
    assert days["calls"] == len(calls)
    assert days["rows_"] < hours_["rows_"]


@pytest.mark.parametrize("percent", [50, 95, 99])
def test_a_percentile_is_in_the_right_range(percent: int) -> None:
    chance = random.Random(percent)
    values = sorted(int(chance.lognormvariate(7, 1.5)) for _ in range(5000))
    counts: dict[int, int] = {}
    for value in values:
        bound = next(bound for bound in BOUNDS if value <= bound)
        counts[bound] = counts.get(bound, 0) + 1
    exact, found = values[len(values) * percent // 100], percentile(counts, percent)
    assert found is not None
    place = next(number for number, bound in enumerate(BOUNDS) if exact <= bound)
    assert (BOUNDS[place - 1] if place else 0) <= found <= BOUNDS[min(place + 1, len(BOUNDS) - 1)]

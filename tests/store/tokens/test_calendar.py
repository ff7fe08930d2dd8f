"""Periods of budgets, in any time zone and across changes of its clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from store.tokens.calendar import DAYS, HOUR, USUAL, Calendar

ZONES = sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc"))
PERIODS = ("hour", "day", "week", "month")


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from(DAYS), st.sampled_from(PERIODS), st.integers(0, 4_000_000_000))
@example("Europe/Berlin", "monday", "day", 1_774_746_000)
@example("Pacific/Apia", "monday", "day", 1_325_200_000)
@example("America/Havana", "sunday", "week", 1_762_000_000)
@example("Asia/Kolkata", "monday", "month", 1_790_000_000)
def test_periods_follow_each_other_without_a_gap(zone: str, first: str, period: str, at: int) -> None:
    calendar = Calendar(zone, first)
    start, end = calendar.start(period, at), calendar.end(period, at)
    assert end is not None
    assert start <= at < end
    assert start % HOUR == end % HOUR == 0
    assert calendar.start(period, end) == end, "the next one begins where this one ends"
    assert calendar.end(period, start - 1) == start
    assert (calendar.start(period, start), calendar.end(period, end - 1)) == (start, end)
    if period != "hour":
        told = datetime.fromtimestamp(start, ZoneInfo(zone))
        before = datetime.fromtimestamp(start - HOUR, ZoneInfo(zone))
        assert told.date() > before.date()
    if period == "week":
        assert abs((end - start) - 7 * 24 * HOUR) <= 25 * HOUR


@pytest.mark.parametrize(
    ("zone", "period", "at", "start", "end"),
    [
        ("Europe/Berlin", "day", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("Europe/Berlin", "day", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("America/New_York", "month", "2026-03-31T23:00", "2026-03-01T05:00", "2026-04-01T04:00"),
        ("America/Havana", "day", "2026-03-08T12:00", "2026-03-08T05:00", "2026-03-09T04:00"),
        ("Asia/Kolkata", "day", "2026-05-01T12:00", "2026-04-30T19:00", "2026-05-01T19:00"),
        ("UTC", "week", "2026-11-29T12:00", "2026-11-23T00:00", "2026-11-30T00:00"),
    ],
)
def test_across_changes_of_clocks(zone: str, period: str, at: str, start: str, end: str) -> None:
    calendar = Calendar(zone)
    moment, *expected = (
        datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in (at, start, end)
    )
    assert [calendar.start(period, moment), calendar.end(period, moment)] == expected


@pytest.mark.parametrize("first", DAYS)
def test_a_week_begins_on_its_day(first: str) -> None:
    start = datetime.fromtimestamp(Calendar(week_start=first).start("week", 1_790_000_000), UTC)
    assert DAYS[start.weekday()] == first
    assert timedelta() <= datetime.fromtimestamp(1_790_000_000, UTC) - start < timedelta(days=7)


def test_total_never_ends() -> None:
    assert (USUAL.start("total", 1e9), USUAL.end("total", 1e9)) == (0, None)


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("period", "at", "start", "end"),
    [
        ("hour", "2026-11-25T10:59:59", "2026-11-25T10:00:00", "2026-11-25T11:00:00"),
        ("day", "2026-11-25T00:00:00", "2026-11-25T00:00:00", "2026-11-26T00:00:00"),
        ("week", "2026-11-29T23:59:59", "2026-11-23T00:00:00", "2026-11-30T00:00:00"),  # a Sunday
        ("week", "2027-01-02T12:00:00", "2026-12-28T00:00:00", "2027-01-04T00:00:00"),
        ("month", "2028-02-29T12:00:00", "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
        ("month", "2026-12-31T23:59:59", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        ("month", "2026-01-31T00:00:00", "2026-01-01T00:00:00", "2026-02-01T00:00:00"),
    ],
)
def test_periods_are_those_of_utc(period: str, at: str, start: str, end: str) -> None:
    assert USUAL.start(period, seconds(at) + 0.5) == seconds(start)
    assert USUAL.end(period, seconds(at) + 0.5) == seconds(end)

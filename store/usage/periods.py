"""Cut usage into hours, days, weeks, months, in the time zone of who asks.

Usage is kept by the hour of UTC. An hour belongs to the period in which it begins; in a zone whose offset is
no whole number of hours, up to half an hour of a day's first call is so told with the day before.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

FORMS = {"hour": "%Y-%m-%dT%H:00", "day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}
"""It says how a period is called, the shortest first; weeks are those of ISO 8601 and begin on Monday."""
HOUR = 3600


def moment_of(hour: int, zone: tzinfo = UTC) -> datetime:
    """Return when an hour (a number since 1970) begins, as the clock of `zone` shows it."""
    return datetime.fromtimestamp(hour * HOUR, zone)


def name_of(way: str, hour: int, zone: tzinfo = UTC) -> str:
    """Name the period that an hour belongs to; hours have ``Z``, or their offset."""
    begins = moment_of(hour, zone)
    if way != "hour":
        return begins.strftime(FORMS[way])
    # %z is +0200: RFC 3339 wants a colon.
    offset = begins.isoformat()[-6:]
    return f"{begins:%Y-%m-%dT%H:%M}{'Z' if offset == '+00:00' else offset}"


def start_of(way: str, hour: int, zone: tzinfo = UTC) -> int:
    """Return the first hour of the period that an hour belongs to."""
    if way == "hour":
        return hour
    return _first_hour(_begin(way, moment_of(hour, zone)))


def next_of(way: str, hour: int, zone: tzinfo = UTC) -> int:
    """Return the hour with which the next period begins."""
    if way == "hour":
        return hour + 1
    begins = _begin(way, moment_of(hour, zone))
    # Of any day from there on the beginning is found anew: days with a change of the clock differ in length.
    days = {"day": 1, "week": 7, "month": 32}[way]
    return _first_hour(_begin(way, begins + timedelta(days=days)))


def _begin(way: str, moment: datetime) -> datetime:
    """Return midnight of the first day of the period, by the clock of the moment's zone."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if way == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if way == "month" else day


def _first_hour(moment: datetime) -> int:
    return -(-int(moment.timestamp()) // HOUR)

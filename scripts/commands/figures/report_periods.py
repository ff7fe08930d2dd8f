"""Name times of reports: ``--period last-week``."""

from __future__ import annotations

from datetime import datetime, tzinfo

from store.usage.periods import HOUR, moment_of, next_of, start_of

PERIODS = {
    "today": ("day", 0),
    "yesterday": ("day", 1),
    "this-week": ("week", 0),
    "last-week": ("week", 1),
    "this-month": ("month", 0),
    "last-month": ("month", 1),
}
"""The period that is meant, and how many before the present one it is."""


def bounds_of(name: str, now: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the first moment of a period and the one after its last, by the clock of `zone`."""
    way, back = PERIODS[name]
    hour = start_of(way, int(now.timestamp()) // HOUR, zone)
    for _ in range(back):
        hour = start_of(way, hour - 1, zone)
    return moment_of(hour, zone), moment_of(next_of(way, hour, zone), zone)

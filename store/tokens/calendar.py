"""Say when a budget's periods begin and end: in UTC, or in a time zone of its own with its own first day.

The ledger's sums have whole hours of UTC. In a zone whose days begin within one of those, a day begins with
the next whole hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from store.core.times import time_zone

HOUR = 3600
TOTAL = "total"
PERIODS = ("hour", "day", "week", "month", TOTAL)
"""It is that of budgets. `total` never ends."""
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
UTC_NAME = "UTC"


@dataclass(frozen=True, slots=True)
class Calendar:
    """Says whose days and weeks they are."""

    zone: str = UTC_NAME
    week_start: str = DAYS[0]

    @property
    def is_usual(self) -> bool:
        """Tell whether the ledger has the sums of its periods."""
        return self == USUAL

    def start(self, period: str, at: float) -> int:
        """Give when the period that `at` (seconds since 1970) falls into began; 0 for `total`."""
        return 0 if period == TOTAL else _bounds(self, period, int(at // HOUR))[0]

    def end(self, period: str, at: float) -> int | None:
        """Give when that period ends and the next one begins; None for `total`."""
        return None if period == TOTAL else _bounds(self, period, int(at // HOUR))[1]


USUAL = Calendar()


@lru_cache(maxsize=4096)
def _bounds(calendar: Calendar, period: str, hour: int) -> tuple[int, int]:
    """Begin and end of the period with this hour of UTC, whose first moment counts. Asked by every call."""
    if period == "hour":
        return hour * HOUR, (hour + 1) * HOUR
    day = datetime.fromtimestamp(hour * HOUR, time_zone(calendar.zone)).date()
    if period == "week":
        day -= timedelta(days=(day.weekday() - DAYS.index(calendar.week_start)) % 7)
        following = day + timedelta(days=7)
    elif period == "month":
        day = day.replace(day=1)
        following = (day + timedelta(days=32)).replace(day=1)
    else:
        following = day + timedelta(days=1)
    return _begin(calendar.zone, day), _begin(calendar.zone, following)


def _begin(zone: str, day: date) -> int:
    """Give when the first whole hour of UTC within a day begins. A midnight that a clock skips is its end."""
    midnight = datetime.combine(day, time(), time_zone(zone)).astimezone(UTC)
    return -(-int(midnight.timestamp()) // HOUR) * HOUR

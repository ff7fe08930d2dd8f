"""How people write times: ``30d``, ``12h``, a date, ``never``. Every function raises Invalid."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from store.errors import Invalid

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
LENGTH = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
NEVER = "never"


def duration(text: str) -> timedelta:
    """A length of time, such as ``90d`` or ``1h``."""
    match = LENGTH.fullmatch(text)
    if match is None:
        raise Invalid(f"{text[:40]!r}: write 90d, 12h, 30m or 0s.")
    return timedelta(seconds=int(match[1]) * UNITS[match[2]])


def expiry(text: str) -> datetime | None:
    """A time from now, a date, a time (RFC 3339; UTC where it names no zone), or ``never``: None."""
    if text == NEVER:
        return None
    return _moment(text, 1, "write 30d, 12h, 2027-01-31, 2027-01-31T12:00:00Z or never")


def past(text: str) -> datetime:
    """A time ago, a date, or a time."""
    return _moment(text, -1, "write 30m, 2h, 1d, 2027-01-31 or 2027-01-31T12:00:00Z")


def _moment(text: str, direction: int, how: str) -> datetime:
    try:
        if LENGTH.fullmatch(text):
            return datetime.now(UTC) + direction * duration(text)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise Invalid(f"{text[:40]!r}: {how}.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

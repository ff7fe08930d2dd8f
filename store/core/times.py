"""Read times as people write them (``30d``, a date, ``never``); write them as records do (RFC 3339)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from store.core.errors import Invalid

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
LENGTH = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
NEVER = "never"


def rfc3339(moment: datetime) -> str:
    """Format in UTC with milliseconds and ``Z`` (RFC 3339), which sorts as text."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(text: str) -> timedelta:
    """Parse a length of time, such as ``90d`` or ``1h``. Raises Invalid."""
    match = LENGTH.fullmatch(text)
    if match is None:
        raise Invalid(f"{text[:40]!r}: write 90d, 12h, 30m or 0s.")
    return timedelta(seconds=int(match[1]) * UNITS[match[2]])


def expiry(text: str) -> datetime | None:
    """Parse a time from now, a date, a time (RFC 3339; UTC where it names no zone), or ``never`` (None).

    Raises Invalid.
    """
    if text == NEVER:
        return None
    return _moment(text, 1, "write 30d, 12h, 2027-01-31, 2027-01-31T12:00:00Z or never")


def coming(text: str) -> datetime | None:
    """Read an expiry that has to lie ahead: what ends in the past was mistyped, or is to be revoked."""
    moment = expiry(text)
    if moment is not None and moment <= datetime.now(UTC):
        raise Invalid(f"{text[:40]!r} is in the past; give a time to come, or revoke what should end now.")
    return moment


def past(text: str, zone: tzinfo = UTC) -> datetime:
    """Parse a time ago, a date, or a time; of `zone` where it names none. Raises Invalid."""
    return _moment(text, -1, "write 30m, 2h, 1d, 2027-01-31 or 2027-01-31T12:00:00Z", zone)


def time_zone(name: str) -> tzinfo:
    """Return a zone by its name in IANA's database, such as ``Europe/Berlin``. Raises Invalid."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid(f"{name[:40]!r} is no known time zone; write one like Europe/Berlin, or UTC.") from None


def _moment(text: str, direction: int, how: str, zone: tzinfo = UTC) -> datetime:
    try:
        if LENGTH.fullmatch(text):
            return datetime.now(UTC) + direction * duration(text)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise Invalid(f"{text[:40]!r}: {how}.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)

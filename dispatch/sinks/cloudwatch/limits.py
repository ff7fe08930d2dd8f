"""Keep the limits of PutLogEvents, in calls that keep them all at once.

Source: the API reference of PutLogEvents. A call must not hold more than 10,000 events, nor 1,048,576 bytes
(counted as UTF-8, and 26 for each event), nor span more than 24 hours; its events must be in the order of
time. Events older than 14 days or more than 2 hours ahead are refused one by one, inside an answer of 200.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from store.spool import Record

MAX_EVENTS = 10_000
MAX_BYTES = 1_048_576
OVERHEAD = 26
MAX_MESSAGE = 262_144 - OVERHEAD
"""Bytes of one message, by default. An endpoint with the older limit refuses more."""
LARGEST_MESSAGE = MAX_BYTES - OVERHEAD
"""Bytes of one message that today's reference allows."""
MAX_SPAN_MS = 24 * 3600 * 1000
MAX_AGE_MS = 14 * 24 * 3600 * 1000 - 3600 * 1000
"""An hour less than allowed, for the time that sending may take."""
MAX_AHEAD_MS = 2 * 3600 * 1000 - 600 * 1000


class LogEvent(NamedTuple):
    """Holds a message with its time in milliseconds since 1970, and what it counts towards a call's size."""

    timestamp: int
    message: str
    size: int
    record: Record


def length(text: str) -> int:
    """Give the bytes of UTF-8, without making them where each character is one."""
    return len(text) if text.isascii() else len(text.encode())


def cut(events: Sequence[LogEvent]) -> list[Sequence[LogEvent]]:
    """Cut into calls within the limits of count, bytes and time; `events` are in the order of time."""
    parts: list[Sequence[LogEvent]] = []
    start = size = 0
    for index, event in enumerate(events):
        full = (
            index - start >= MAX_EVENTS
            or size + event.size > MAX_BYTES
            or event.timestamp - events[start].timestamp >= MAX_SPAN_MS
        )
        if full and index > start:
            parts.append(events[start:index])
            start, size = index, 0
        size += event.size
    if start < len(events):
        parts.append(events[start:])
    return parts


def milliseconds(timestamp: Any, now: int) -> int:
    """Give the milliseconds of an RFC 3339 time; `now` where there is none."""
    try:
        return int(datetime.fromisoformat(timestamp).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return now

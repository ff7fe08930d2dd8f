"""Refuse as the service does, by the references of PutLogEvents, CreateLogGroup and CreateLogStream."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

MAX_EVENTS = 10_000
MAX_BYTES = 1_048_576
OVERHEAD = 26
DAY_MS = 86_400_000
MAX_AGE_MS = 14 * DAY_MS
MAX_AHEAD_MS = 2 * 3_600_000
RETENTION_DAYS = frozenset(
    (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
)
GROUP_NAME = re.compile(r"(?!aws/)[A-Za-z0-9_\-/.#]{1,512}\Z")
STREAM_NAME = re.compile(r"[^:*]{1,512}\Z")


class Refused(Exception):
    """Is an error answer of the service."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def invalid(message: str) -> Refused:
    return Refused("InvalidParameterException", message)


def check_types(events: Any) -> None:
    """Raise Refused where the JSON is not of the shape that the service's model has."""
    if not isinstance(events, list):
        raise Refused("SerializationException", "logEvents is not a list")
    for event in events:
        if not isinstance(event, dict) or not isinstance(event.get("message"), str):
            raise Refused("SerializationException", "an event without a message")
        if type(event.get("timestamp")) is not int:
            raise Refused("SerializationException", "a timestamp that is not an integer")


def violation(
    events: Sequence[Mapping[str, Any]], *, now: int | None = None, max_event_bytes: int = MAX_BYTES
) -> str | None:
    """Give what a whole call is refused for; None where it is not. `now` is in milliseconds since 1970.

    The span counts only events that are themselves within the window; all of them where `now` is None.
    """
    if not 1 <= len(events) <= MAX_EVENTS:
        return f"Log events in a single request: {len(events)}, allowed are 1 to {MAX_EVENTS}"
    total = 0
    for event in events:
        if set(event) != {"timestamp", "message"} or not event["message"] or event["timestamp"] < 0:
            return "Malformed log event"
        try:
            size = len(event["message"].encode()) + OVERHEAD
        except UnicodeEncodeError:
            return "Malformed log event: not UTF-8"
        if size > max_event_bytes:
            return f"Log event too large: {size} bytes exceed {max_event_bytes}"
        total += size
    if total > MAX_BYTES:
        return f"Upload too large: {total} bytes exceed {MAX_BYTES}"
    times = [event["timestamp"] for event in events]
    if any(later < earlier for earlier, later in pairwise(times)):
        return "Log events in a single PutLogEvents request must be in chronological order."
    valid = [at for at in times if now is None or now - MAX_AGE_MS <= at <= now + MAX_AHEAD_MS]
    if valid and valid[-1] - valid[0] > DAY_MS:
        return "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
    return None

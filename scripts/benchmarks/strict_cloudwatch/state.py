"""Hold groups, streams and what is in them."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from scripts.benchmarks.strict_cloudwatch import rules
from scripts.benchmarks.strict_cloudwatch.faults import Rejection


class Event(NamedTuple):
    """Holds one event as it was stored."""

    timestamp: int
    message: str


@dataclass(frozen=True, slots=True)
class Put:
    """Describes one PutLogEvents, in the order of arrival."""

    group: str
    stream: str
    events: int
    size: int
    """Bytes as the service counts them."""
    outcome: str
    """`stored`, or what it was refused for."""
    connection: int
    """Number of the TCP connection, from 1."""
    sequence_token: bool


@dataclass(slots=True)
class Group:
    """Holds one log group."""

    settings: dict[str, Any]
    retention: int | None = None
    """Days; None for ever."""
    streams: dict[str, list[Event]] = field(default_factory=dict)
    """Events in the order of arrival."""
    counts: dict[str, int] = field(default_factory=dict)
    metric_filters: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    created: int = field(default_factory=lambda: int(time.time() * 1000))


@dataclass(slots=True)
class Logs:
    """Holds all of it. Not locked: the server lets one call at a time in."""

    keep: bool = True
    """It tells whether the messages are kept, or only counted (for measurements of a million events)."""
    groups: dict[str, Group] = field(default_factory=dict)
    queries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def group(self, name: Any) -> Group:
        try:
            return self.groups[name]
        except KeyError:
            message = "The specified log group does not exist."
            raise rules.Refused("ResourceNotFoundException", message) from None

    def put(
        self, group_name: Any, stream: Any, events: Sequence[Mapping[str, Any]], forced: Rejection | None
    ) -> dict[str, Any]:
        """Store what is neither too old, expired nor too new; returns the answer."""
        group = self.group(group_name)
        if stream not in group.streams:
            raise rules.Refused("ResourceNotFoundException", "The specified log stream does not exist.")
        rejection = forced or self._judge(group, [event["timestamp"] for event in events])
        start = max(rejection.too_old_end or 0, rejection.expired_end or 0)
        end = len(events) if rejection.too_new_start is None else rejection.too_new_start
        taken = events[start:end]
        group.counts[stream] = group.counts.get(stream, 0) + len(taken)
        if self.keep:
            group.streams[stream] += [Event(event["timestamp"], event["message"]) for event in taken]
        info = {
            "tooOldLogEventEndIndex": rejection.too_old_end,
            "expiredLogEventEndIndex": rejection.expired_end,
            "tooNewLogEventStartIndex": rejection.too_new_start,
        }
        info = {name: index for name, index in info.items() if index is not None}
        return {"nextSequenceToken": "0", **({"rejectedLogEventsInfo": info} if info else {})}

    def _judge(self, group: Group, times: Sequence[int]) -> Rejection:
        now = int(time.time() * 1000)
        old = bisect_left(times, now - rules.MAX_AGE_MS)
        expired = bisect_left(times, now - group.retention * rules.DAY_MS) if group.retention else 0
        new = bisect_right(times, now + rules.MAX_AHEAD_MS)
        return Rejection(old or None, expired or None, new if new < len(times) else None)

    def search(
        self, group_name: Any, streams: Iterable[str], start: int | None, end: int | None
    ) -> list[tuple[int, str, Event]]:
        """Give (position, stream, event), by time; both ends inclusive, as FilterLogEvents has them."""
        group = self.group(group_name)
        found = [
            (position, name, event)
            for name in streams
            for position, event in enumerate(group.streams[name])
            if (start is None or event.timestamp >= start) and (end is None or event.timestamp <= end)
        ]
        return sorted(found, key=lambda hit: hit[2].timestamp)

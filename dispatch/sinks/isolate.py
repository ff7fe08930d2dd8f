"""Finding the event that a backend can't take, when its answer is about a whole request.

A refusal (400 ...) is isolated at once, by halves. A breakdown (500) is tried again first; if it stays while
the backend is otherwise alive, or for very long, it is isolated too: one event must not stop all others.
What is sent twice on the way has the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatch.errors import DeliveryError
from dispatch.sinks import Rejected
from dispatch.sinks.http import Failed, Refused
from store.spool import Record

FAILURES_ALIVE = 3
"""Breakdowns over one parcel, with the backend alive right after, from which on its events are to blame."""
FAILURES_AT_MOST = 20
"""The same where the backend can't be asked: some minutes."""


@dataclass(slots=True)
class Item:
    """One event and the form in which it goes out."""

    record: Record
    content: Any


@dataclass(slots=True)
class Work:
    """What of a parcel is still to be done; it outlives a try."""

    items: list[Item]
    rejected: list[Rejected] = field(default_factory=list)
    failures: int = 0
    failures_alive: int = 0

    def to_blame(self, alive: Callable[[], bool]) -> bool:
        """Count a breakdown; whether it is the events' fault by now."""
        self.failures += 1
        self.failures_alive += alive()
        return self.failures_alive >= FAILURES_ALIVE or self.failures >= FAILURES_AT_MOST


def isolate(
    items: Sequence[Item],
    work: Work,
    post: Callable[[Sequence[Item]], list[Rejected]],
    alive: Callable[[], bool],
) -> list[Rejected]:
    """Post `items`, in halves where the backend takes no more. Raises DeliveryError."""
    try:
        return post(items)
    except Refused as error:
        reason = str(error)
    except Failed as error:
        if not work.to_blame(alive):
            raise
        reason = str(error)
    if len(items) == 1:
        return [Rejected(items[0].record, reason)]
    middle = len(items) // 2
    return [
        *isolate(items[:middle], work, post, alive),
        *isolate(items[middle:], work, post, alive),
    ]


def answers(probe: Callable[[], object]) -> bool:
    """Whether a harmless request succeeds."""
    try:
        probe()
    except DeliveryError:
        return False
    return True

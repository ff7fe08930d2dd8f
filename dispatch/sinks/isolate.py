"""Find the event that a backend can't take, when its answer is about a whole request.

A refusal (400 ...) is isolated at once, by halves. A breakdown (500) is tried again first; if it stays while
the backend is otherwise alive, or for very long, it is isolated too: one event must not stop all others.
What is sent twice on the way has the same ids.

Nothing is put aside while the backend refuses what is surely good, or refuses all of a request alike: then it
is the settings that are wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatch.errors import DeliveryError, Misconfigured
from dispatch.sinks import Rejected, failed_alike
from dispatch.sinks.http import Failed, Refused
from store.spool import Record

FAILURES_ALIVE = 3
"""Breakdowns over one parcel, with the backend alive right after, from which on its events are to blame."""
FAILURES_AT_MOST = 20
"""It is the same where the backend can't be asked: some minutes."""


@dataclass(slots=True)
class Item:
    """Holds one event and the form in which it goes out."""

    record: Record
    content: Any


@dataclass(slots=True)
class Work:
    """Holds what of a parcel is still to be done; it outlives a try."""

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
    work: Work, post: Callable[[Sequence[Item]], list[Rejected]], probe: Callable[[], object]
) -> list[Rejected]:
    """Post the items of `work`, in halves where the backend takes no more. Raises DeliveryError.

    `probe` makes a harmless request, which a backend that is set up rightly takes.
    """
    rejected = _Isolation(work, post, probe).send(work.items)
    if len(rejected) == len(work.items) and (reason := failed_alike(rejected)):
        raise Misconfigured(reason)
    return rejected


class _Isolation:
    """Makes one go at the items of a request."""

    def __init__(
        self, work: Work, post: Callable[[Sequence[Item]], list[Rejected]], probe: Callable[[], object]
    ) -> None:
        self._work = work
        self._post = post
        self._probe = probe
        self._probed = False

    def send(self, items: Sequence[Item]) -> list[Rejected]:
        """Post `items`, or what of them the backend takes."""
        try:
            return self._post(items)
        except Refused as error:
            self._blame_settings()
            reason = str(error)
        except Failed as error:
            if not self._work.to_blame(lambda: answers(self._probe)):
                raise
            reason = str(error)
        if len(items) == 1:
            return [Rejected(items[0].record, reason)]
        middle = len(items) // 2
        return [*self.send(items[:middle]), *self.send(items[middle:])]

    def _blame_settings(self) -> None:
        """Raise Misconfigured where a harmless request is refused as well."""
        if self._probed:
            return
        try:
            self._probe()
        except Refused as error:
            raise Misconfigured(str(error)) from error
        self._probed = True


def answers(probe: Callable[[], object]) -> bool:
    """Tell whether a harmless request succeeds."""
    try:
        probe()
    except DeliveryError:
        return False
    return True

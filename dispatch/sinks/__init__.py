"""Send events to a backend. A sink is one small class; :mod:`dispatch.service` does the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from store.spool import Record


@dataclass(frozen=True, slots=True)
class Rejected:
    """Holds a record that this backend will never take, and why."""

    record: Record
    reason: str


MANY = 10
"""So many events are not all bad by themselves, and for the same reason."""


def failed_alike(rejected: Sequence[Rejected]) -> str | None:
    """Return why a whole request was refused, where it is rather the settings' fault than that of its events.

    `rejected`: all events of the request. Nothing of it may be put aside then: it is sent again when a person
    has mended what is wrong.
    """
    reasons = {each.reason for each in rejected}
    if len(rejected) < MANY or len(reasons) != 1:
        return None
    return f"{reasons.pop()} (the same for all {len(rejected)} events: the settings are wrong, not they)"


@dataclass(frozen=True, slots=True)
class Parcel:
    """Holds records that go out in one request, in the form in which they go out."""

    records: Sequence[Record]
    content: Any
    lane: str = ""
    """Parcels of one lane are sent in their order; those of different lanes may be sent at the same time."""


@dataclass(slots=True)
class Plan:
    """Holds a batch, cut into requests."""

    parcels: list[Parcel] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    skipped: int = 0
    """Records that this backend has no use for (it takes calls only): neither sent nor dead."""


class Sink(Protocol):
    """Sends to one backend."""

    name: str

    def plan(self, records: Sequence[Record]) -> Plan:
        """Cut records into requests that the backend's limits allow. No input or output here.

        The batch before may still be on its way, in another thread.
        """
        ...

    def send(self, parcel: Parcel) -> list[Rejected]:
        """Deliver; what comes back was refused for good. Raises DeliveryError to have it sent again.

        Called from several threads at once where the parcels of a plan have several lanes.
        """
        ...

    def check(self) -> str:
        """Prove credentials, rights and reachability without writing anything, and say in a few words what
        was proved. Raises DeliveryError."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Readable(Protocol):
    """Is a sink that can be asked what it holds, for `llmproxy prove`."""

    def delivered(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        """Yield the messages from `since` on, in any order, each as often as it is there.

        Raises DeliveryError.
        """
        ...


@runtime_checkable
class Beating(Protocol):
    """Is a sink that can also show its backend that the dispatcher lives, though nothing is sent."""

    def beat(self, backlog: int) -> None:
        """Show the backend that the dispatcher lives.

        Called between batches of a dispatcher that follows its spool, so never while one is stuck.

        `backlog`: bytes that are left in the spool. Says nothing when it fails: what follows will.
        """
        ...

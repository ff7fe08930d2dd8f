"""Events for tests, from and to what JSON has."""

from __future__ import annotations

from typing import Any

from addons.recording.event_builder import event_of
from addons.recording.exchange import Exchange
from store.core.event import UsageEvent
from store.core.event_fields import read_record, to_fields


def typed(fields: dict[str, Any]) -> UsageEvent:
    """A call as it is read back."""
    return read_record(fields, UsageEvent)


def fields_of(exchange: Exchange, *, capture: str = "all") -> dict[str, Any]:
    """The event of `exchange`, as its line has it."""
    return to_fields(event_of(exchange, capture=capture))

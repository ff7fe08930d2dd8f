"""Show a call to backends that know calls, not log lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from store.core.codes import SERVED
from store.core.event import USAGE_TYPE, Error, Fields, Usage, UsageEvent
from store.core.event_fields import read_record, to_fields
from store.spool import Record


@dataclass(frozen=True, slots=True)
class Call:
    """Holds a usage event, ready to be translated: times as times, nothing that may not leave the machine."""

    event: UsageEvent
    start: datetime
    end: datetime
    with_content: bool

    @property
    def id(self) -> str:
        """Give the event's id: the same whenever the event is sent."""
        return str(self.event.event_id)

    @property
    def user_id(self) -> str | None:
        return self.event.user.id if self.event.user else None

    @property
    def failed(self) -> bool:
        return self.event.outcome not in SERVED

    @property
    def error(self) -> Error:
        """Give what went wrong; all unknown where nothing did."""
        return self.event.error or Error()

    @property
    def error_fields(self) -> Fields | None:
        """Give the same as JSON has it; where content is not sent there is no text in it."""
        if self.event.error is None:
            return None
        fields = to_fields(self.event.error)
        return {name: value for name, value in fields.items() if self.with_content or name != "message"}

    @property
    def usage(self) -> Usage:
        """Give what the call used; all unknown where nothing is known."""
        return self.event.usage or Usage()

    @property
    def usage_source(self) -> str | None:
        return None if self.usage.source is UNSET else str(self.usage.source)

    @property
    def usd(self) -> str | None:
        """Give what it cost, a decimal as text."""
        return self.event.cost.usd if self.event.cost else None

    @property
    def request(self) -> Any:
        """Give the request's body; None where content is not sent, or there is none."""
        return None if self.event.request is UNSET else self.event.request.body

    @property
    def response(self) -> Any:
        """Give the answer's body; None where content is not sent, or there is none."""
        return None if self.event.response is UNSET else self.event.response.body


def call(record: Record, *, include_content: bool) -> Call | None:
    """Give the call in a record; None for any other record, and for one without a usable time."""
    if record.value.get("type") != USAGE_TYPE:
        return None
    event = read_record(record.value, UsageEvent)
    if not include_content:
        error = replace(event.error, message=None) if event.error else None
        event = replace(event, request=UNSET, response=UNSET, error=error)
    try:
        start = datetime.fromisoformat(str(event.timestamp))
        end = start + timedelta(milliseconds=event.duration_ms or 0)
    except (ValueError, OverflowError):
        return None
    return Call(event, start, end, include_content) if start.tzinfo else None


def mapping(value: Any) -> Mapping[str, Any]:
    """Give `value`, or nothing where it is no object."""
    return value if isinstance(value, Mapping) else {}


def whole(value: Any) -> int | None:
    """Give `value`, or None where it is no number."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

"""What backends that know calls, not log lines, want to be told about one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dispatch.message import USAGE_TYPE, message
from store.spool import Record


@dataclass(frozen=True, slots=True)
class Call:
    """A usage event, ready to be translated: times as times, nothing that may not leave the machine."""

    shown: Mapping[str, Any]
    """The flat message; see :mod:`dispatch.message`."""
    start: datetime
    end: datetime

    @property
    def id(self) -> str:
        """The event's id: the same whenever the event is sent."""
        return str(self.shown.get("event_id"))

    @property
    def user_id(self) -> str | None:
        found = mapping(self.shown.get("user")).get("id")
        return None if found is None else str(found)

    @property
    def failed(self) -> bool:
        return self.shown.get("outcome") not in ("ok", "queued")

    @property
    def request(self) -> Any:
        """The request's body; None where content is not sent, or there is none."""
        return mapping(self.shown.get("request")).get("body")

    @property
    def response(self) -> Any:
        """The answer's body; None where content is not sent, or there is none."""
        return mapping(self.shown.get("response")).get("body")

    def tokens(self, name: str) -> int | None:
        """A figure of the usage, such as `input_tokens`; None where it is not known."""
        return whole(mapping(self.shown.get("usage")).get(name))

    def details(self, side: str) -> Mapping[str, Any]:
        """`input` or `output`: what its tokens consist of."""
        return mapping(mapping(self.shown.get("usage")).get(f"{side}_tokens_details"))


def call(record: Record, *, include_content: bool) -> Call | None:
    """The call in a record; None for any other record, and for one without a usable time."""
    if record.value.get("type") != USAGE_TYPE:
        return None
    shown = message(record.value, include_content=include_content)
    try:
        start = datetime.fromisoformat(str(shown.get("timestamp")))
        end = start + timedelta(milliseconds=whole(shown.get("duration_ms")) or 0)
    except (ValueError, OverflowError):
        return None
    return Call(shown, start, end) if start.tzinfo else None


def mapping(value: Any) -> Mapping[str, Any]:
    """`value`, or nothing where it is no object."""
    return value if isinstance(value, Mapping) else {}


def whole(value: Any) -> int | None:
    """`value`, or None where it is no number."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

"""Filter what a sink may see.

The one gate between the spool and every sink, other packages' too: what was not asked for does not reach
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dispatch.errors import Misconfigured
from dispatch.message import CONTENT
from dispatch.outline import ADDRESSES, Outline, outline
from dispatch.redact import Redactor
from dispatch.sinks import Beating, Parcel, Plan, Readable, Rejected, Sink
from store.core.redaction import hide_tool_secrets
from store.spool import Record


@dataclass(frozen=True, slots=True)
class Privacy:
    """Lets through, unless told otherwise, no prompt, answer, header, error text or client's address."""

    include_content: bool = False
    """Prompts, answers, headers, and the text of errors, which may quote them."""
    include_client: bool = False
    """The client's address and its user agent."""
    redactor: Redactor | None = None
    """It is what is taken out of content that is included, and of metadata that clients add to their
    calls."""

    def of(self, record: Record) -> Record:
        """Give the record as a sink may see it.

        Its `line` is for dead letters, which stay on this machine.
        """
        value = dict(record.value)
        for name in CONTENT:
            if name in value:
                if self.include_content:
                    value[name] = self._redacted(value[name])
                else:
                    del value[name]
        if self.redactor is not None and "request_metadata" in value:
            value["request_metadata"] = self.redactor.value(value["request_metadata"])
        error = value.get("error")
        if isinstance(error, Mapping) and "message" in error:
            kept = {name: item for name, item in error.items() if name != "message"}
            value["error"] = (
                {**kept, "message": self._redacted(error["message"])} if self.include_content else kept
            )
        client = value.get("client")
        if isinstance(client, Mapping) and not self.include_client:
            value["client"] = {name: item for name, item in client.items() if name not in ADDRESSES}
        return Record(record.line, value, record.segment, record.offset)

    def _redacted(self, content: Any) -> Any:
        content = hide_tool_secrets(content)  # events of older versions have them still
        return content if self.redactor is None else self.redactor.value(content)


class Outlined(Record):
    """Is a record of which no more than the outline may be seen; see :mod:`dispatch.outline`."""

    __slots__ = ()

    def __init__(self, record: Record) -> None:
        super().__init__(record.line, None, record.segment, record.offset)

    @property
    def value(self) -> dict[str, Any]:
        if self._value is None:
            self._value = Privacy().of(Record(self.line, None, self.segment, self.offset)).value
        return self._value

    def outline(self) -> Outline | None:
        """Give the flat message of a call; None where the record has to be parsed."""
        return outline(self.line)


class Guarded:
    """Wraps a sink that sees only what it may."""

    def __init__(self, sink: Sink, privacy: Privacy) -> None:
        self.name = sink.name
        self._sink = sink
        self._privacy = privacy

    def plan(self, records: Sequence[Record]) -> Plan:
        if self._privacy == Privacy():
            return self._sink.plan([Outlined(record) for record in records])
        return self._sink.plan([self._privacy.of(record) for record in records])

    def send(self, parcel: Parcel) -> list[Rejected]:
        return self._sink.send(parcel)

    def beat(self, backlog: int) -> None:
        if isinstance(self._sink, Beating):
            self._sink.beat(backlog)

    def delivered(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        if not isinstance(self._sink, Readable):
            raise Misconfigured(f"sink {self.name!r} can't be read back.")
        return self._sink.delivered(since)

    def check(self) -> str:
        return self._sink.check()

    def close(self) -> None:
        self._sink.close()

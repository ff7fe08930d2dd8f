"""Choose the log stream that an event goes to.

The name may hold ``{host}``, ``{date}`` (of the event, UTC) and ``{project_id}``. With several streams each
name gets a number, and runs of a thousand events of one writer go to the streams in turn: the same event
always to the same one, whoever sends it and however often, so that each stream has its events in the writer's
order.
"""

from __future__ import annotations

import re
import socket
import string
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dispatch.errors import Misconfigured
from dispatch.outline import Outline

DEFAULT_STREAM = "llmproxy-{host}"
"""One stream for each machine."""
PLACEHOLDERS = ("host", "date", "project_id")
RUN = 1000
"""Consecutive events of one writer that go to the same stream; about as many as fill a call."""
LONGEST = 512
GROUP_NAME = re.compile(r"(?!aws/)[A-Za-z0-9_\-/.#]{1,512}\Z")


def check_group(name: str) -> str:
    """Raise Misconfigured for a name that CloudWatch does not allow (API reference of CreateLogGroup)."""
    if not GROUP_NAME.match(name):
        raise Misconfigured(
            f"cloudwatch: log group {name!r}: a name has 1 to 512 letters, digits and _ - / . #, "
            "and does not begin with aws/."
        )
    return name


class StreamNames:
    """Makes the names that a template gives."""

    def __init__(self, template: str, streams: int = 1, *, host: str | None = None) -> None:
        """Raise Misconfigured for a placeholder that is unknown."""
        self.streams = streams
        self._template = template
        self._host = host or socket.gethostname()
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            raise Misconfigured(f"cloudwatch: log stream {template!r}: {error}.") from error
        for _, field, spec, conversion in parts:
            if field is not None and (field not in PLACEHOLDERS or spec or conversion):
                known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
                raise Misconfigured(f"cloudwatch: log stream {template!r}: {{{field}}} is none of {known}.")
        self._varies = any(field in {"date", "project_id"} for _, field, _, _ in parts)
        if not template or (not self._varies and not _allowed(self._name("", ""))):
            raise Misconfigured(f"cloudwatch: log stream {template!r}: a name must not be empty.")
        self._fixed = None if self._varies else self._numbered(self._name("", ""))

    def of(self, record: Mapping[str, Any] | Outline, timestamp: int) -> str:
        """Give the stream of an event; `timestamp` in milliseconds since 1970."""
        names = self._fixed
        if names is None:
            date = datetime.fromtimestamp(timestamp / 1000, UTC).date().isoformat()
            names = self._numbered(self._name(date, str(record.get("project_id") or "none")))
        return names[self._index(record)]

    def all_fixed(self) -> list[str]:
        """Give all names, where they depend on no event; none otherwise."""
        return list(self._fixed or [])

    def _index(self, record: Mapping[str, Any] | Outline) -> int:
        if self.streams == 1:
            return 0
        # A writer's closing record has no number of its own: it goes behind the last event.
        number = record.get("seq", record.get("last_seq"))
        run = number // RUN if isinstance(number, int) else 0
        return (zlib.crc32(str(record.get("writer")).encode(errors="replace")) + run) % self.streams

    def _numbered(self, name: str) -> list[str]:
        if self.streams == 1:
            return [name]
        return [f"{name[: LONGEST - 6]}-{number}" for number in range(1, self.streams + 1)]

    def _name(self, date: str, project: str) -> str:
        name = self._template.format(host=self._host, date=date, project_id=project)
        return _allowed(name)


def _allowed(name: str) -> str:
    """Replace colons and asterisks, which are not allowed (API reference of CreateLogStream)."""
    return re.sub(r"[:*\x00-\x1f]", "-", name)[:LONGEST]

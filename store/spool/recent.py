"""Find the latest calls of a spool, without what they said: for those who look at a proxy as it works.

A spool keeps its segments until every consumer is past them, so this reaches back as far as they do. What is
read has a bound: the segments are read from their ends, SCANNED bytes in all.
"""

from __future__ import annotations

import contextlib
import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from store.core.event import SESSION_TYPE, USAGE_TYPE
from store.core.times import rfc3339
from store.spool.segment import parse, segments
from store.spool.tail import lines_backwards

SCANNED = 64 * 2**20
"""Bytes that are read for one answer."""
CONTENT = ("request", "response")
"""Fields of an event that hold what was asked and answered."""

Record = Mapping[str, Any]
Position = tuple[str, str]
"""Time and id of a call: together they sort calls, and no two have the same."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Describes calls that fit everything that is given."""

    equal: Mapping[str, str] = field(default_factory=dict)
    """Fields that have these values."""
    user: str | None = None
    session: str | None = None
    """It is that of an agent."""
    since: str | None = None
    """RFC 3339 in UTC, with milliseconds."""
    until: str | None = None
    before: Position | None = None
    """Older than this one."""
    behind: Position | None = None
    """Newer than this one."""
    projects: frozenset[str] | None = None
    """The only ones whose calls may be told; None for all, and those without one."""

    def fits(self, record: Record) -> bool:
        """Tell whether a record is a call, and one that is wanted."""
        if record.get("type") != USAGE_TYPE:
            return False
        if self.projects is not None and record.get("project_id") not in self.projects:
            return False
        place, at = position(record), str(record.get("timestamp"))
        if (self.before and place >= self.before) or (self.behind and place <= self.behind):
            return False
        if (self.since and at < self.since) or (self.until and at >= self.until):
            return False
        if self.user is not None and (record.get("user") or {}).get("id") != self.user:
            return False
        if self.session is not None and (record.get("session") or {}).get("id") != self.session:
            return False
        return all(_text(record.get(name)) == value for name, value in self.equal.items())


@dataclass(frozen=True, slots=True)
class Found:
    """Holds calls, the newest first."""

    calls: list[dict[str, Any]]
    more: bool
    """It tells whether older ones fit, too."""
    whole: bool
    """It tells whether all of the spool that could hold some was read."""


def latest(spool: Path, wanted: Wanted, limit: int, *, scanned: int = SCANNED) -> Found:
    """Find the newest calls that fit, at most `limit`, without their content."""
    newest: list[tuple[Position, dict[str, Any]]] = []  # a heap, the oldest first
    more, left = False, scanned
    for path, size, changed in _newest_first(spool):
        # A call begins before it is written: all in an older file are older still.
        if wanted.since is not None and changed < wanted.since:
            break
        if len(newest) == limit and changed < newest[0][0][0]:
            more = True
            break
        for record, length in _backwards(path, size):
            left -= length
            if record is not None and wanted.fits(record):
                entry = (position(record), without_content(record))
                if len(newest) < limit:
                    heapq.heappush(newest, entry)
                else:
                    heapq.heappushpop(newest, entry)
                    more = True
            if left <= 0:
                return Found(_sorted(newest), more, whole=False)
    return Found(_sorted(newest), more, whole=True)


def find(spool: Path, id_: str, *, scanned: int = SCANNED) -> dict[str, Any] | None:
    """Find a call, or a session, by its event id or request id, whole; None where it is not there."""
    left = scanned
    for path, size, _ in _newest_first(spool):
        for line in _lines(path, size):
            left -= len(line) + 1
            # Most lines are other calls': to look for the id takes a tenth of the time of reading them.
            if id_.encode() in line and (record := parse(line)) is not None and _is(record, id_):
                return record
            if left <= 0:
                return None
    return None


def records_backwards(spool: Path, holding: str) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Give the records of a spool and the lengths of their lines, the newest segment first, from its end.

    None in the place of those that do not hold this text: most need not be read.
    """
    needle = json.dumps(holding, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")
    for path, size, _ in _newest_first(spool):
        for line in _lines(path, size):
            yield parse(line) if needle in line else None, len(line) + 1


def position(record: Record) -> Position:
    """Return what sorts a call among all others."""
    return str(record.get("timestamp")), str(record.get("event_id"))


def without_content(record: Record) -> dict[str, Any]:
    """Leave out what was asked and answered, and an error's text, which may quote it."""
    shown = {name: value for name, value in record.items() if name not in CONTENT}
    if isinstance(error := shown.get("error"), Mapping) and record.get("outcome") != "refused":
        shown["error"] = {**error, "message": None}
    return shown


def _is(record: Record, id_: str) -> bool:
    return record.get("type") in (USAGE_TYPE, SESSION_TYPE) and id_ in (
        record.get("event_id"),
        record.get("request_id"),
    )


def _newest_first(spool: Path) -> list[tuple[Path, int, str]]:
    """Give the segments with size and time of their last change, as events tell time."""
    found = []
    for path in segments(spool):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            found.append((path, stat.st_size, rfc3339(datetime.fromtimestamp(stat.st_mtime, UTC))))
    return sorted(found, key=lambda each: each[2], reverse=True)


def _backwards(path: Path, size: int) -> Iterator[tuple[dict[str, Any] | None, int]]:
    for line in _lines(path, size):
        yield parse(line) if line else None, len(line) + 1


def _lines(path: Path, size: int) -> Iterator[bytes]:
    with contextlib.suppress(FileNotFoundError):
        yield from lines_backwards(path, size)


def _sorted(newest: list[tuple[Position, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [record for _, record in sorted(newest, key=lambda entry: entry[0], reverse=True)]


def _text(value: object) -> str | None:
    return None if value is None else str(value)

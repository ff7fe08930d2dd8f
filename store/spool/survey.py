"""Survey the state of a spool, and whether everything in it is sound. Nothing here changes anything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from store.core.event import USAGE_TYPE, WRITER_TYPE
from store.core.file_locks import is_held
from store.core.times import rfc3339
from store.spool import cursor, dead, journal, replay, usage_checkpoint
from store.spool.backlog import time_at
from store.spool.closing import read_journal
from store.spool.segment import segments, writer_of


def status(spool: Path, now: datetime | None = None) -> dict[str, Any]:
    """Give sizes, writers, and how far each consumer is, as plain data."""
    now = now or datetime.now(UTC)
    paths = segments(spool)
    under_way = {
        writer: len(read_journal(list(files)).pending)
        for writer, files in groupby(journal.journals(spool), writer_of)
    }
    living = [path for path in paths if _is_living(path)]
    return {
        "spool": str(spool),
        "segments": len(paths),
        "bytes": sum(_size(path) for path in paths),
        "writers": len({writer_of(path) for path in paths} | under_way.keys()),
        "writers_alive": len({writer_of(path) for path in living}),
        "calls_under_way": sum(under_way.values()),
        "writers_not_counted": len(usage_checkpoint.left_behind(spool)),
        "consumers": [_consumer(spool, name, paths, now) for name in consumers(spool)],
    }


def consumers(spool: Path) -> list[str]:
    """Name everybody with a cursor or with dead letters."""
    return sorted({*cursor.names(spool), *dead.consumers(spool)})


def _consumer(spool: Path, name: str, paths: list[Path], now: datetime) -> dict[str, Any]:
    offsets = cursor.load(cursor.path_of(spool, name))
    left = [(path, offsets.get(path.name, 0)) for path in [*replay.files(spool, name), *paths]]
    left = [(path, offset) for path, offset in left if _size(path) > offset]
    times = [moment for path, offset in left if (moment := time_at(path, offset)) is not None]
    oldest = min(times, default=None)
    return {
        "consumer": name,
        "at_work": cursor.holder(spool, name),
        "backlog_bytes": sum(_size(path) - offset for path, offset in left),
        "oldest": None if oldest is None else rfc3339(oldest),
        "lag_seconds": 0.0 if oldest is None else max(0.0, round((now - oldest).total_seconds(), 1)),
        "dead": dict(Counter(str(letter.get("reason"))[:80] for letter in dead.read(spool, name))),
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_living(path: Path) -> bool:
    try:
        return is_held(path)
    except FileNotFoundError:
        return False


@dataclass(frozen=True, slots=True)
class Line:
    """Holds one line of a segment, with what is wrong with it."""

    segment: Path
    offset: int
    data: bytes
    record: dict[str, Any] | None
    damage: str | None


@dataclass(slots=True)
class Numbers:
    """Says which records of one writer there are."""

    seen: Counter[int] = field(default_factory=Counter)
    last: int = 0
    """By its closing record; 0: none is there."""

    def gaps(self) -> list[str]:
        """Give the numbers that are missing between the first and the last one, as ranges."""
        highest = max(self.last, max(self.seen, default=0))
        lowest = min(self.seen, default=highest + 1)
        return ranges(number for number in range(lowest, highest + 1) if number not in self.seen)


def verify(spool: Path) -> dict[str, Any]:
    """Give every line of every segment, looked at: what is damaged, which numbers are missing or there twice.

    Segments that every consumer is past are removed, so a writer's first numbers may be gone: that is no gap.
    """
    writers: dict[str, Numbers] = {}
    damaged, events = [], 0
    for path in segments(spool):
        for line in lines(path):
            if line.damage:
                damaged.append(
                    {
                        "segment": path.name,
                        "offset": line.offset,
                        "bytes": len(line.data),
                        "damage": line.damage,
                    }
                )
            elif line.record:
                events += line.record.get("type") == USAGE_TYPE
                count(line.record, writers)
    twice = {
        writer: ranges(n for n, times in sorted(numbers.seen.items()) if times > 1)
        for writer, numbers in writers.items()
    }
    cursors = {
        name: error for name in cursor.names(spool) if (error := cursor.damage(cursor.path_of(spool, name)))
    }
    return {
        "segments": len(segments(spool)),
        "events": events,
        "writers": len(writers),
        "damaged": damaged,
        "gaps": {writer: gaps for writer, numbers in writers.items() if (gaps := numbers.gaps())},
        "duplicates": {writer: found for writer, found in twice.items() if found},
        "cursors": cursors,
    }


def count(record: Mapping[str, Any], writers: dict[str, Numbers]) -> None:
    """Note the number of a record with its writer."""
    writer = record.get("writer")
    if not isinstance(writer, str):
        return
    numbers = writers.setdefault(writer, Numbers())
    if isinstance(number := record.get("seq"), int):
        numbers.seen[number] += 1
    if record.get("type") == WRITER_TYPE and isinstance(last := record.get("last_seq"), int):
        numbers.last = max(numbers.last, last)


def lines(path: Path) -> Iterator[Line]:
    """Give the lines of a segment; blank ones, which `repair` leaves, are none."""
    try:
        finished = not is_held(path)
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        offset = 0
        for data in file:
            whole = data.endswith(b"\n")
            if data.strip() and (whole or finished):
                record, damage = _judge(data, whole)
                yield Line(path, offset, data, record, damage)
            offset += len(data)


def _judge(data: bytes, whole: bool) -> tuple[dict[str, Any] | None, str | None]:
    if not whole:
        return None, "torn: the writer died while it wrote this line"
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        return None, f"not JSON: {error}"
    return (value, None) if isinstance(value, dict) else (None, "not a JSON object")


def ranges(numbers: Iterator[int]) -> list[str]:
    """Write rising numbers in short: ``3``, ``7-9``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [str(first) if first == last else f"{first}-{last}" for first, last in found]

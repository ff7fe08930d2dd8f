"""Read records as they come, without a cursor: nothing is kept, nothing is marked as read."""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from store.core.times import rfc3339
from store.spool.segment import parse, segments

BLOCK = 256 * 1024

Record = dict[str, Any]


class Tail:
    """Looks at a spool again and again, from where it ends now; each look gives what is new."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._offsets = {}
        for path in segments(spool):
            with contextlib.suppress(FileNotFoundError):
                self._offsets[path.name] = _whole(path)

    def last(self, count: int, fits: Callable[[Record], bool]) -> list[Record]:
        """Return the last `count` records that fit, of those that were there at the beginning.

        The segments are read from their ends, and those that are too old for any of them not at all.
        """
        found: list[tuple[str, int, Record]] = []
        for order, (changed, path) in enumerate(self._newest_first()):
            # An event begins before it is written: all in an older file are older still.
            if not count or (len(found) == count and changed < found[0][0]):
                break
            fitting = filter(fits, _records_backwards(path, self._offsets[path.name]))
            for number, record in enumerate(fitting):
                if number == count:
                    break
                entry = (str(record.get("timestamp")), -(order * count + number), record)
                (heapq.heappush if len(found) < count else heapq.heappushpop)(found, entry)
        return [record for _, _, record in sorted(found, key=lambda entry: entry[:2])]

    def look(self) -> Iterator[Record]:
        """Give the whole lines that have come since the last look."""
        paths = segments(self._spool)
        for gone in self._offsets.keys() - {path.name for path in paths}:
            del self._offsets[gone]
        for path in paths:
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                file.seek(self._offsets.get(path.name, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offsets[path.name] = self._offsets.get(path.name, 0) + len(line)
                    if (record := parse(line)) is not None:
                        yield record

    def _newest_first(self) -> list[tuple[str, Path]]:
        """Give the segments that were there at the beginning, with the time of their last change."""
        found = []
        for name in self._offsets:
            path = self._spool / name
            with contextlib.suppress(FileNotFoundError):
                found.append((rfc3339(datetime.fromtimestamp(path.stat().st_mtime, UTC)), path))
        return sorted(found, key=lambda each: each[0], reverse=True)


def lines_backwards(path: Path, end: int) -> Iterator[bytes]:
    """Give the lines before the byte `end`, the last one first, without their line ends."""
    with path.open("rb") as file:
        parts: list[bytes] = []  # of the line whose beginning is not found yet, the last one first
        while end > 0:
            start = max(0, end - BLOCK)
            file.seek(start)
            block = file.read(end - start)
            end = start
            *others, last = block.split(b"\n")
            if others:
                yield b"".join([last, *reversed(parts)])
                yield from reversed(others[1:])
                parts, last = [], others[0]
            parts.append(last)
        yield b"".join(reversed(parts))


def _records_backwards(path: Path, end: int) -> Iterator[Record]:
    with contextlib.suppress(FileNotFoundError):
        for line in lines_backwards(path, end):
            if (record := parse(line)) is not None:
                yield record


def _whole(path: Path) -> int:
    """Return where the last whole line ends."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - BLOCK)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            end = start
    return 0

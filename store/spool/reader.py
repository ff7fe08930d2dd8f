"""Read the spool: one consumer, from its cursor on."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from store.core.errors import SpoolError
from store.core.file_locks import is_held
from store.spool import cursor, dead, replay, usage_checkpoint
from store.spool.closing import Price, close_dead_writers
from store.spool.cursor import Cursor
from store.spool.journal import journals
from store.spool.segment import decode, segments, writer_of

logger = logging.getLogger(__name__)


class Record:
    """Holds one line of the spool, parsed when it is asked for: not every consumer needs all."""

    __slots__ = ("_value", "line", "offset", "segment")

    def __init__(self, line: bytes, value: dict[str, Any] | None, segment: str, offset: int) -> None:
        """Take `line` without its line end; `value`: what it says, None to parse it later."""
        self.line = line
        self.segment = segment
        self.offset = offset
        self._value = value

    @property
    def value(self) -> dict[str, Any]:
        """Give the object that the line is."""
        if self._value is None:
            self._value = decode(self.line)
        return self._value


@dataclass(slots=True)
class Batch:
    """Holds records in the order of their writers, and where the cursor stands after them."""

    records: list[Record] = field(default_factory=list)
    offsets: dict[str, int] = field(default_factory=dict)
    dead: list[dict[str, Any]] = field(default_factory=list)
    """It is what is put aside, with the reason, when the batch is committed."""

    @property
    def lines(self) -> list[bytes]:
        return [record.line for record in self.records]

    def __bool__(self) -> bool:
        return bool(self.records)

    def bury(self, line: bytes, segment: str, offset: int, reason: str) -> None:
        """Put a line aside: it will never be sent, and never be lost."""
        text = line.decode("utf-8", "backslashreplace")
        self.dead.append({"reason": reason, "segment": segment, "offset": offset, "line": text})


class SpoolReader:
    """Reads what its consumer has not committed. A context manager; one process at a time per consumer.

    Raises SpoolError where the folder is missing or the consumer is at work elsewhere.
    """

    def __init__(self, folder: Path, consumer: str, *, price: Price | None = None) -> None:
        """Take as `price` what :func:`store.spool.closing.close_dead_writers` does."""
        if not folder.is_dir():
            raise SpoolError(
                f"there is no spool at {folder}; start the proxy first, or name the right folder."
            )
        self.folder = folder
        self.consumer = consumer
        self._price = price
        self._cursor = Cursor(folder, consumer)
        self._ahead: Mapping[str, int] = {}
        self._last = ""
        """The writer that was read last; the next read begins behind it, so that none has to wait."""

    def __enter__(self) -> SpoolReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._cursor.close()

    def read(
        self, *, max_events: int = 1000, max_bytes: int = 8 * 2**20, after: Mapping[str, int] | None = None
    ) -> Batch:
        """Give the next records, at most `max_events`, and about `max_bytes` unless one line alone is longer.

        Nothing moves until :meth:`commit`; without it the same records come again. False at the end.
        `after`: the offsets of a batch that was read and is not committed yet; what follows it is read.
        """
        self._ahead = after or {}
        batch = Batch()
        size = 0
        for writer, paths in self._in_turn():
            for path in paths:
                room = max_events - len(batch.records)
                if room <= 0 or size >= max_bytes:
                    break
                done = self._read_segment(path, room, max_bytes - size, batch)
                if done:
                    self._last = writer
                size += done
                if not self._exhausted(path, batch):
                    break  # a later segment of this writer must wait for the rest
        if not batch and batch.offsets and not self._ahead:
            self.commit(batch)
        return batch

    def commit(self, batch: Batch) -> None:
        """Move past a batch that is delivered: it is never read again."""
        if batch.dead:
            dead.write(self.folder, self.consumer, batch.dead)
        self._cursor.move(batch.offsets)

    def reclaim(self) -> int:
        """Close writers that died, and remove the segments that every registered consumer is past.

        Returns how many were removed. Raises OSError.

        The last segment of a writer stays until the writer is closed: it may be all that tells which of
        its calls have an event (see :mod:`store.spool.closing`). And every segment stays until the store has
        taken in what it holds (see :mod:`store.spool.usage_checkpoint`).
        """
        close_dead_writers(self.folder, self._price)
        consumers = cursor.all_offsets(self.folder)
        unclosed = {writer_of(path) for path in journals(self.folder)}
        found = segments(self.folder)
        marks = usage_checkpoint.behind(
            self.folder
        )  # after the segments: these are never there before the marks
        last = {writer_of(path): path for path in found}
        removed = 0
        for path in replay.files(self.folder, self.consumer):
            if path.stat().st_size == self._cursor.offsets.get(path.name, 0):
                path.unlink()
        for path in found:
            if writer_of(path) in unclosed and path == last[writer_of(path)]:
                continue
            try:
                with path.open("rb") as file:
                    # Locked while it is looked at: a living writer does not let go of it.
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    size = os.fstat(file.fileno()).st_size
                    done = all(offsets.get(path.name, 0) == size for offsets in consumers)
                    if done and not usage_checkpoint.is_waiting(path, marks):
                        path.unlink()
                        removed += 1
            except (BlockingIOError, FileNotFoundError):
                continue
        return removed

    def backlog(self) -> int:
        """Give the bytes that are still to be read."""
        return sum(
            max(0, path.stat().st_size - self._cursor.offsets.get(path.name, 0))
            for path in [*replay.files(self.folder, self.consumer), *segments(self.folder)]
            if path.exists()
        )

    def _in_turn(self) -> list[tuple[str, list[Path]]]:
        """Give the segments of each writer, in order; the writers take turns in coming first."""
        found = [*replay.files(self.folder, self.consumer), *segments(self.folder)]
        for gone in self._cursor.offsets.keys() - {path.name for path in found}:
            self._cursor.forget(gone)
        writers = [(writer, list(paths)) for writer, paths in groupby(found, writer_of)]
        first = next((index for index, (writer, _) in enumerate(writers) if writer > self._last), 0)
        return writers[first:] + writers[:first]

    def _done(self, path: Path) -> int:
        """Give the bytes of a segment that are delivered, or read ahead."""
        return self._ahead.get(path.name, self._cursor.offsets.get(path.name, 0))

    def _exhausted(self, path: Path, batch: Batch) -> bool:
        """Tell whether nothing is left of a segment after `batch`."""
        offset = batch.offsets.get(path.name, self._done(path))
        try:
            return path.stat().st_size == offset
        except FileNotFoundError:
            return True

    def _read_segment(self, path: Path, max_events: int, max_bytes: int, batch: Batch) -> int:
        """Add complete lines of one segment to `batch`; returns their bytes."""
        try:
            if path.stat().st_size == self._done(path):
                return 0
            start = self._start(path)
            finished = not is_held(path)  # asked before reading: then no line can be missed
            data = _read_lines(path, start, max_bytes)
        except FileNotFoundError:
            return 0
        lines = data.split(b"\n")
        tail = lines.pop()
        offset = start
        name = path.name
        for line in lines[:max_events]:
            self._take(line, name, offset, batch)
            offset += len(line) + 1
        if not lines and tail and finished:
            # The writer died within this line; its commit was never reported.
            batch.bury(tail, path.name, offset, "torn: the writer died while it wrote this line")
            offset += len(tail)
        if offset > start:
            batch.offsets[path.name] = offset
        return offset - start

    def _start(self, path: Path) -> int:
        """Find where to go on in a segment: its beginning if the cursor cannot be right.

        So it may be after a disk lost what was synced, or after a write that failed was taken back when it
        had been read already.
        """
        start = self._done(path)
        if not start:
            return start
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(start - 1)
            if start < size and file.read(1) == b"\n":
                return start
        logger.warning(
            "cursor %s: %d is no line's beginning in %s; all of that comes again",
            self.consumer,
            start,
            path.name,
        )
        self._cursor.offsets[path.name] = 0
        return 0

    def _take(self, line: bytes, segment: str, offset: int, batch: Batch) -> None:
        if _is_object(line):
            batch.records.append(Record(line, None, segment, offset))
            return
        if not line.strip():
            return  # a damaged line that was set aside (see store.spool.repair)
        try:
            value = decode(line)
        except (ValueError, RecursionError) as error:
            batch.bury(line, segment, offset, f"not JSON: {error}")
            return
        if isinstance(value, dict):
            batch.records.append(Record(line, value, segment, offset))
        else:
            batch.bury(line, segment, offset, "not a JSON object")


def _read_lines(path: Path, start: int, size: int) -> bytes:
    """Read up to `size` bytes from `start`, but one whole line at least, if there is one."""
    with path.open("rb") as file:
        file.seek(start)
        parts = [file.read(size)]
        while parts[-1] and b"\n" not in parts[-1]:
            parts.append(file.read(max(size, 2**20)))
        return b"".join(parts)


class _Nothing(msgspec.Struct, gc=False):
    """Is an object of which no member is wanted."""


_skim = msgspec.json.Decoder(_Nothing).decode


def _is_object(line: bytes) -> bool:
    """Tell whether a line is surely a JSON object in UTF-8, found out without making one."""
    try:
        _skim(line)
        return line.isascii() or bool(line.decode())
    except (ValueError, RecursionError):
        return False

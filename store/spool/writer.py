"""Write to the spool."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from uuid_utils import uuid7

from store.core.event import BaseRecord, WriterRecord
from store.core.private_files import make_folder, sync_folder
from store.core.times import rfc3339
from store.spool.journal import Journal
from store.spool.reserve import Reserve
from store.spool.segment import (
    UNFINISHED,
    Line,
    check_place,
    encode,
    segment_name,
    segments,
)

SEGMENT_BYTES = 64 * 2**20
SEGMENT_SECONDS = 3600.0
"""Age after which a new segment is begun, so that disk space comes back on quiet days too."""


class SpoolWriter:
    """Appends records. For one thread; any number of processes may write into one folder.

    Raises OSError where the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        with_journal: bool = False,
    ) -> None:
        self.writer = str(uuid7())
        """Identifies this run of this process in every record."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segment_seconds = segment_seconds
        self._sequence = 0
        self._dropped = 0
        self._counter = 0
        self._descriptor: int | None = None
        self._begin_segment()
        self.journal = Journal(folder, self.writer) if with_journal else None
        """It says where calls are opened; their events close them."""
        self._reserve = Reserve(folder) if with_journal else None

    def append(self, records: Sequence[Line | BaseRecord | Mapping[str, Any]]) -> int:
        """Write `records`, numbered, and return the last number once they are on disk.

        All or nothing: when OSError is raised none of them is in the spool, and the same call can be made
        again. (Only if the disk also fails to take back a half-written group can a record be there twice,
        with the same `event_id`.)
        """
        lines = [record if isinstance(record, Line) else Line.of(record) for record in records]
        first = self._sequence + 1
        pieces = (line.numbered(self.writer, number) for number, line in enumerate(lines, first))
        self._write(b"".join(chain.from_iterable(pieces)))
        self._sequence += len(lines)
        if self._reserve is not None:
            self._reserve.hold()
        if self.journal is not None:
            self.journal.recorded([line.event_id for line in lines], self._sequence)
        return self._sequence

    def skip(self, ids: Sequence[str]) -> None:
        """Close in the journal calls that will have no event: somebody decided so, and counts them."""
        if self.journal is not None:
            self.journal.recorded(ids, self._sequence)
        self._dropped += len(ids)

    def folder_bytes(self) -> int:
        """Give what the segments of all writers hold."""
        total = 0
        for path in segments(self._folder):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def check(self) -> None:
        """Raise OSError where what is written would go to files that nobody finds: removed, or moved away."""
        if self._descriptor is not None:
            try:
                check_place(self._descriptor, self._path)
            except OSError:
                self._end_segment()
                raise
        if self.journal is not None:
            self.journal.check()

    def reopen(self) -> None:
        """Go on in a folder that was removed. What it held, and was not read before, is lost."""
        if self._descriptor is None:
            self._begin_segment()
        if self.journal is not None:
            self.journal.reopen()

    def roll(self) -> None:
        """Begin another segment, so that the present one can be removed once every consumer has read it."""
        if self._reserve is not None:
            self._reserve.release()
        if self._descriptor is not None and self._size > 0:
            if self.journal is not None:
                self.journal.settle()
            self._end_segment()
        if self._descriptor is None:
            self._begin_segment()

    def close(self) -> None:
        """State the last number, so that a reader can tell that nothing is missing, and let go."""
        counts = self.journal.counts if self.journal is not None else {}
        if self._dropped:
            counts["dropped"] = self._dropped
        try:
            if self._sequence or any(counts.values()):
                self._write(encode(closing_record(self.writer, self._sequence, **counts)))
            elif self._descriptor is not None:
                self._path.unlink(missing_ok=True)
        finally:
            self._end_segment()
            if self._reserve is not None:
                self._reserve.release()
            if self.journal is not None:
                self.journal.close()

    def _write(self, data: bytes) -> None:
        """Write once, and sync once."""
        self.check()
        self._rotate_if_due()
        assert self._descriptor is not None
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self._take_back()
            raise
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            # What the kernel did with the pages is unknown, and a second sync would not tell (fsync(2)).
            self._take_back()
            self._end_segment()
            raise
        self._size += len(data)

    def _take_back(self) -> None:
        """Cut off what was half written; where that fails too, the segment ends here."""
        assert self._descriptor is not None
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            self._end_segment()

    def _rotate_if_due(self) -> None:
        if self._descriptor is not None:
            young = time.monotonic() - self._begun < self._segment_seconds
            if self._size == 0 or (self._size < self._segment_bytes and young):
                return
            if self.journal is not None:
                self.journal.settle()
            self._end_segment()
        self._begin_segment()

    def _begin_segment(self) -> None:
        make_folder(self._folder, parents=True)
        self._counter += 1
        path = self._folder / segment_name(self.writer, self._counter)
        # Locked under another name first: a reader takes an unlocked segment for finished.
        unfinished = path.with_name(path.name + UNFINISHED)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unfinished.rename(path)
            sync_folder(self._folder)
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        self._descriptor, self._path, self._size, self._begun = descriptor, path, 0, time.monotonic()

    def _end_segment(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def open_spool(folder: Path) -> tuple[SpoolWriter, Journal]:
    """Give the proxy's side of the spool: where its calls end, and where they begin. Raises OSError."""
    writer = SpoolWriter(folder, with_journal=True)
    assert writer.journal is not None
    return writer, writer.journal


def closing_record(writer: str, last_seq: int, **counts: int) -> WriterRecord:
    """State that a writer has ended, how many records it wrote, and what became of its calls."""
    record = WriterRecord(event_id=str(uuid7()), writer=writer, last_seq=last_seq)
    record.timestamp = rfc3339(datetime.now(UTC))
    for name, count in counts.items():
        setattr(record, name, count)
    return record

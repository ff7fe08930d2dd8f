"""Write events as JSON Lines into a file, for people, tests and log shippers."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zstandard

from dispatch.errors import Misconfigured, Unavailable
from dispatch.message import lines
from dispatch.proof import as_record
from dispatch.sinks import Parcel, Plan, Rejected
from store.core.private_files import make_folder
from store.spool import Record

logger = logging.getLogger(__name__)

LEVEL = 3
"""It is that of compression: zstandard's default."""


class FileSink:
    """Appends to one file, which is opened anew for each batch and so may be rotated. Synced per batch.

    By itself it rotates too: ``events.jsonl`` becomes ``events-20260131T120000Z-0001.jsonl``, and then
    ``...jsonl.zst``. Only whole files are compressed, so the lines of the current one can always be read.
    """

    name = "file"

    def __init__(
        self,
        output: Path,
        *,
        rotate_size: int | None = None,
        rotate_every: float | None = None,
        zstd: bool = False,
        keep: int | None = None,
        shape: str = "usage",
        include_content: bool = False,
    ) -> None:
        """Take `rotate_size` in bytes, `rotate_every` in seconds, and `keep`, how many rotated files are
        left.

        A file holds what was written within one period `rotate_every` of UTC. `keep` is None for all.
        """
        self._path = output
        self._rotate_size = rotate_size
        self._rotate_every = rotate_every
        self._zstd = zstd
        self._keep = keep
        self._include_content = include_content
        self._shape = shape

    def plan(self, records: Sequence[Record]) -> Plan:
        values = (record.value for record in records)
        return Plan(
            [Parcel(records, lines(values, include_content=self._include_content, shape=self._shape))]
        )

    def send(self, parcel: Parcel) -> list[Rejected]:
        try:
            make_folder(self._path.parent, parents=True)
            self._rotate_if_due()
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise Misconfigured(f"file {self._path}: {error.strerror}") from error
        try:
            self._append(descriptor, parcel.content)
        except OSError as error:
            raise Unavailable(f"file {self._path}: {error.strerror}") from error
        finally:
            os.close(descriptor)
        return []

    def check(self) -> str:
        place = self._path
        while not place.exists():
            place = place.parent
        if self._path.is_dir():
            raise Misconfigured(f"file {self._path}: is a directory")
        if not os.access(place, os.W_OK):
            raise Misconfigured(f"file {self._path}: {place} may not be written to")
        return f"{self._path} can be appended to"

    def delivered(self, since: datetime) -> Iterator[Mapping[str, Any]]:  # noqa: ARG002 - all that is there
        """See :class:`dispatch.sinks.Readable`."""
        for path in [*self._rotated(), self._path]:
            if path.exists():
                yield from _messages(path)

    def close(self) -> None:
        pass

    def _append(self, descriptor: int, data: bytes) -> None:
        size = os.fstat(descriptor).st_size
        # A dispatcher that was killed while it wrote left half a line; what follows must not join it.
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        rest = memoryview(b"\n" + data if torn else data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
        os.fsync(descriptor)

    def _rotate_if_due(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return
        if not found.st_size or not self._is_due(found):
            return
        self._path.rename(self._next_name())
        # Also what a dispatcher that was killed meanwhile left behind.
        for path in self._rotated() if self._zstd else []:
            if path.suffix != ".zst":
                compress(path)
        for path in self._rotated()[: -self._keep] if self._keep else []:
            path.unlink()

    def _is_due(self, found: os.stat_result) -> bool:
        if self._rotate_size is not None and found.st_size >= self._rotate_size:
            return True
        every = self._rotate_every or 0.0
        # Whether its last line is from an earlier period; those of a day end at midnight UTC.
        return every > 0 and found.st_mtime // every != time.time() // every

    def _rotated(self) -> list[Path]:
        """Give rotated files, oldest first. A compressed one that is whole stands for its original."""
        pattern = re.compile(
            rf"{re.escape(self._path.stem)}-\d{{8}}T\d{{6}}Z-\d{{4}}{re.escape(self._path.suffix)}(\.zst)?"
        )
        return sorted(path for path in self._path.parent.iterdir() if pattern.fullmatch(path.name))

    def _next_name(self) -> Path:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        taken = {path.name.removesuffix(".zst") for path in self._rotated()}
        for number in range(1, 10_000):
            name = f"{self._path.stem}-{stamp}-{number:04d}{self._path.suffix}"
            if name not in taken:
                return self._path.with_name(name)
        raise OSError(0, "too many rotated files within one second", str(self._path))


def _messages(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        plain = zstandard.ZstdDecompressor().stream_reader(file) if path.suffix == ".zst" else file
        for line in io.BufferedReader(plain):
            yield as_record(line)


def compress(path: Path) -> None:
    """Replace a file by ``path.zst``, which appears only when it is whole and on disk."""
    target = path.with_name(path.name + ".zst")
    if not target.exists():
        temporary = path.with_name(path.name + ".zst.new")
        with path.open("rb") as source:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as sink:
                zstandard.ZstdCompressor(level=LEVEL).copy_stream(source, sink)
                sink.flush()
                os.fsync(sink.fileno())
        temporary.rename(target)
    path.unlink()

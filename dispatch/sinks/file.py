"""Events as JSON Lines in a file, for people, tests and log shippers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from dispatch.errors import Misconfigured, Unavailable
from dispatch.message import encode, message
from dispatch.sinks import Parcel, Plan, Rejected
from store.spool import Record


class FileSink:
    """Appends to one file, which is opened anew for each batch and so may be rotated. Synced per batch."""

    name = "file"

    def __init__(self, path: Path, *, include_content: bool = False) -> None:
        self._path = path
        self._include_content = include_content

    def plan(self, records: Sequence[Record]) -> Plan:
        lines = [encode(message(record.value, include_content=self._include_content)) for record in records]
        return Plan([Parcel(records, "".join(f"{line}\n" for line in lines).encode())])

    def send(self, parcel: Parcel) -> list[Rejected]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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

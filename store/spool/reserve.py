"""Keep room free on the disk, for the few lines without which a full one could not be emptied."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from store.spool.segment import UNFINISHED

BYTES = 64 * 2**10
ROOMY = 16 * BYTES
"""Free bytes from which on the room is taken again."""


class Reserve:
    """Holds the room by a file without a name, so that it comes back when the process is gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self.hold()

    def hold(self) -> None:
        """Take the room, unless it is held already or the disk is nearly full. Never raises."""
        if self._descriptor is not None:
            return
        path = self._folder / f"reserve.{os.getpid()}.{id(self)}{UNFINISHED}"
        with contextlib.suppress(OSError):
            disk = os.statvfs(self._folder)
            if disk.f_bavail * disk.f_frsize < ROOMY:
                return
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                path.unlink()
                os.posix_fallocate(descriptor, 0, BYTES)
            except OSError:
                os.close(descriptor)
                raise
            self._descriptor = descriptor

    def release(self) -> None:
        """Give the room back."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

"""Keep what each proxy process says of itself: a small file beside the spool's segments.

::

    spool/
      status/0197…c1.json     replaced every few seconds by the proxy with that writer id
      status/0197…c1.lock     held by it as long as it lives

A file whose lock nobody holds is the last word of a proxy that ended; it is kept for some days.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.core.file_locks import is_held
from store.core.private_files import make_folder

FOLDER = "status"
KEEP_SECONDS = 7 * 86400.0
"""It says how long the last word of a proxy that ended is kept."""


class StatusFile:
    """Writes the file of one proxy. Raises OSError where the folder cannot be used."""

    def __init__(self, spool: Path, writer: str) -> None:
        self._path = spool / FOLDER / f"{writer}.json"
        self._lock: int | None = self._take_lock()
        _prune(self._path.parent)

    def _take_lock(self) -> int:
        make_folder(self._path.parent, parents=True)
        lock = os.open(_lock_of(self._path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock

    def write(self, value: Mapping[str, Any]) -> None:
        """Replace what the file says, as a whole; in a new folder where that was removed."""
        if self._lock is not None and os.fstat(self._lock).st_nlink == 0:
            os.close(self._lock)
            self._lock = self._take_lock()
        temporary = self._path.with_suffix(".tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(value, file)
        temporary.replace(self._path)

    def close(self) -> None:
        """Close as the proxy ends; what it wrote last stays."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            with contextlib.suppress(OSError):
                _lock_of(self._path).unlink(missing_ok=True)
            os.close(lock)


@dataclass(frozen=True, slots=True)
class Status:
    """Says what a proxy said last, and whether it lives."""

    value: dict[str, Any]
    alive: bool


def read_all(spool: Path) -> list[Status]:
    """Give the status of every proxy that has one, oldest first; unreadable files are left out."""
    found = []
    for path in sorted((spool / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            alive = _is_alive(path)  # asked first: a proxy that ends meanwhile has said its last word
            value = json.loads(path.read_bytes())
            if isinstance(value, dict):
                found.append(Status(value, alive))
    return found


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _is_alive(path: Path) -> bool:
    try:
        return is_held(_lock_of(path))
    except FileNotFoundError:
        return False


def _prune(folder: Path) -> None:
    """Remove what proxies said that ended long ago."""
    for path in folder.glob("*.json"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > KEEP_SECONDS and not _is_alive(path):
                _lock_of(path).unlink(missing_ok=True)
                path.unlink()

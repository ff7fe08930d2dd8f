"""Locks of files (flock(2)): whoever holds one lives, since it goes with its process, however that ends."""

from __future__ import annotations

import fcntl
from pathlib import Path


def is_held(path: Path) -> bool:
    """Whether a process holds the file's lock. Raises FileNotFoundError where there is no such file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

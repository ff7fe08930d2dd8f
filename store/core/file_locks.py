"""Lock files (flock(2)): whoever holds one lives, since it goes with its process, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def is_held(path: Path) -> bool:
    """Tell whether a process holds the file's lock. Raises FileNotFoundError where there is no such file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def claim(path: Path) -> int | None:
    """Take the lock of the file, which is made where it is missing, until this process ends.

    Return its descriptor, or None where another process holds the lock. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextlib.contextmanager
def taken(path: Path) -> Iterator[bool]:
    """Tell whether the file's lock was free, and the file is still the one at `path`.

    If so, the lock is held meanwhile.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have removed it between the listing and the lock.
            still = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            still = False
        yield still

"""Make files and folders that only their owner may read, and that last: events may hold prompts.

The mode is given as each is made. The process's umask is left alone, as it belongs to all threads: where two
change it and put it back at once, files are made open, or every later file of the process is made closed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any


def make_folder(path: Path, *, parents: bool = False) -> None:
    """Make a folder with mode 0700 unless it exists, with `parents` those above it too. Raises OSError."""
    missing = [path]
    while parents and not missing[-1].parent.is_dir():
        missing.append(missing[-1].parent)
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def open_private(path: Path, mode: str) -> IO[Any]:
    """Open a file like ``path.open(mode)``; one that is made by this gets mode 0600. Raises OSError."""
    encoding = None if "b" in mode else "utf-8"
    return open(path, mode, encoding=encoding, opener=_open)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable (fsync(2): syncing a file does not sync its entry)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

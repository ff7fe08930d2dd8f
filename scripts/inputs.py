"""Files that commands read, with a bar for those that take long."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


def open_input(name: str, bar: Progress) -> BinaryIO:
    """A file, or standard input for ``-``. Raises OSError."""
    if name == "-":
        return sys.stdin.buffer
    return bar.open(name, "rb", description=Path(name).name)


def progress() -> Progress:
    """A bar on a terminal; nothing in a pipe."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )

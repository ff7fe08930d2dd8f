"""Read files for commands, with a bar for those that take long."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


def open_input(name: str, bar: Progress) -> BinaryIO:
    """Give a file, or standard input for ``-``. Raises OSError."""
    if name == "-":
        return sys.stdin.buffer
    return bar.open(name, "rb", description=Path(name).name)


def read_key(value: str) -> str:
    """Take a key as it is, or for ``-`` from standard input, so that no list of processes shows it."""
    return sys.stdin.readline().strip() if value == "-" else value


def progress() -> Progress:
    """Give a bar on a terminal; nothing in a pipe."""
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

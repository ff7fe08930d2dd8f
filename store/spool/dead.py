"""Keep dead letters, ``dead/CONSUMER.jsonl``: what a consumer can't use, or its backend will never take."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from store.core.private_files import make_folder, open_private
from store.spool.segment import encode, parse, write_whole

FOLDER = "dead"

Letter = dict[str, Any]
"""``reason``, ``segment``, ``offset``, ``line``."""


def path_of(spool: Path, consumer: str) -> Path:
    return spool / FOLDER / f"{consumer}.jsonl"


def write(spool: Path, consumer: str, letters: Sequence[Mapping[str, Any]]) -> None:
    """Append, and wait for the disk. Raises OSError."""
    with _locked(spool), open_private(path_of(spool, consumer), "ab") as file:
        file.write(b"".join(encode(letter) for letter in letters))
        file.flush()
        os.fsync(file.fileno())


def read(spool: Path, consumer: str) -> Iterator[Letter]:
    """Give the letters of a consumer, oldest first."""
    try:
        data = path_of(spool, consumer).read_bytes()
    except FileNotFoundError:
        return
    for line in data.splitlines():
        if (letter := parse(line)) is not None:
            yield letter


def take(
    spool: Path, consumer: str, wanted: Callable[[Letter], bool], use: Callable[[list[Letter]], None]
) -> int:
    """Hand the `wanted` letters to `use`, and forget them once that returned. Returns how many."""
    with _locked(spool):
        letters = list(read(spool, consumer))
        taken = [letter for letter in letters if wanted(letter)]
        if taken:
            use(taken)
            kept = [letter for letter in letters if not wanted(letter)]
            write_whole(path_of(spool, consumer), b"".join(encode(letter) for letter in kept))
    return len(taken)


def consumers(spool: Path) -> list[str]:
    """Name who has dead letters."""
    return sorted(path.stem for path in (spool / FOLDER).glob("*.jsonl"))


@contextlib.contextmanager
def _locked(spool: Path) -> Iterator[None]:
    """Give a letter that arrives while others are taken must not be forgotten with them."""
    folder = spool / FOLDER
    make_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

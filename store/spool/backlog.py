"""What each consumer still has to read, seen from outside: nothing is locked, nothing moves."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path

from store.spool import cursor as cursors
from store.spool.reader import DEAD
from store.spool.segment import segments


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far behind a consumer is."""

    bytes: int
    at_work: bool
    """Whether a process holds the consumer's lock."""
    dead: int
    """Records that it put aside."""


def backlogs(spool: Path) -> dict[str, Backlog]:
    """The backlog of every consumer that has ever read the spool, by name."""
    sizes = {path.name: path.stat().st_size for path in segments(spool) if path.exists()}
    found = {}
    for path in sorted((spool / cursors.FOLDER).glob("*.json")):
        offsets = cursors.load(path)
        behind = sum(max(0, size - offsets.get(name, 0)) for name, size in sizes.items())
        found[path.stem] = Backlog(behind, _is_held(path.with_suffix(".lock")), _lines(spool, path.stem))
    return found


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _lines(spool: Path, consumer: str) -> int:
    try:
        with (spool / DEAD / f"{consumer}.jsonl").open("rb") as file:
            return sum(1 for _ in file)
    except FileNotFoundError:
        return 0

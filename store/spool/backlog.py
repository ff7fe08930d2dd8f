"""What each consumer still has to read, seen from outside: nothing is locked, nothing moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from store.spool import cursor as cursors
from store.spool import dead
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
    for name in cursors.names(spool):
        offsets = cursors.load(cursors.path_of(spool, name))
        behind = sum(max(0, size - offsets.get(segment, 0)) for segment, size in sizes.items())
        at_work = cursors.holder(spool, name) is not None
        found[name] = Backlog(behind, at_work, sum(1 for _ in dead.read(spool, name)))
    return found

"""See from outside what each consumer still has to read: nothing is locked, nothing moves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from store.spool import cursor, dead
from store.spool.segment import parse, segments


@dataclass(frozen=True, slots=True)
class Backlog:
    """Says how far behind a consumer is."""

    bytes: int
    lag_seconds: float
    """Age of the oldest record that it has not passed; 0 where there is none."""
    at_work: bool
    """It tells whether a process holds the consumer's lock."""
    dead: int
    """Records that it put aside."""


def backlogs(spool: Path) -> dict[str, Backlog]:
    """Return the backlog of every consumer that has ever read the spool, by name."""
    sizes = {path: path.stat().st_size for path in segments(spool) if path.exists()}
    found = {}
    for name in cursor.names(spool):
        offsets = cursor.load(cursor.path_of(spool, name))
        left = {
            path: offsets.get(path.name, 0)
            for path, size in sizes.items()
            if size > offsets.get(path.name, 0)
        }
        times = [moment for path, offset in left.items() if (moment := time_at(path, offset)) is not None]
        found[name] = Backlog(
            sum(sizes[path] - offset for path, offset in left.items()),
            max(0.0, time.time() - min(times).timestamp()) if times else 0.0,
            cursor.holder(spool, name) is not None,
            sum(1 for _ in dead.read(spool, name)),
        )
    return found


def time_at(path: Path, offset: int) -> datetime | None:
    """Return when the record at `offset` happened; None where that can't be told."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            record = parse(file.readline()) or {}
        moment = datetime.fromisoformat(str(record.get("timestamp")))
    except (OSError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

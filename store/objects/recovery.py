"""Settle, or undo, claims of processes that were killed between the store and the disk.

A claim says which event is going to have the usage of an object (:mod:`store.objects.table`). Whether that
event came to be stands in the segments of its writer, which are read once that writer has been closed
(:mod:`store.spool.closing`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from store.core.event import UsageEvent
from store.core.event_fields import read_call
from store.database.engine import Connection, Engine
from store.objects import table as objects
from store.spool import journal
from store.spool.segment import parse, segments, writer_of


def recover(spool: Path, engine: Engine) -> int:
    """Decide on every claim whose writer is dead and wrote into this spool. Returns how many there were."""
    connection = engine.connect()
    try:
        return _recover(spool, connection)
    finally:
        connection.close()


def _recover(spool: Path, connection: Connection) -> int:
    claims = [row for row in objects.unsettled(connection) if row["counted_writer"]]
    if not claims:
        return 0
    # Whoever has a journal lives, or is not closed yet and looked at the next time.
    open_ = {writer_of(path) for path in journal.journals(spool)}
    dead = {row["counted_writer"] for row in claims} - open_
    written = {writer: [path for path in segments(spool) if writer_of(path) == writer] for writer in dead}
    decided = 0
    for writer, paths in written.items():
        if not paths:
            continue  # another machine's
        ids = {row["counted_by"] for row in claims if row["counted_writer"] == writer}
        counted = _with_usage(paths, ids)
        objects.settle(connection, counted)
        objects.release(connection, ids - counted)
        decided += len(ids)
    return decided


def _with_usage(paths: Iterable[Path], ids: set[str]) -> set[str]:
    """Give those of `ids` whose events are in these segments, with a usage."""
    found = set()
    for path in paths:
        with path.open("rb") as file:
            for line in file:
                if not any(id_.encode() in line for id_ in ids):
                    continue
                event = read_call(parse(line) or {})
                if isinstance(event, UsageEvent) and event.event_id in ids and event.usage is not None:
                    found.add(event.event_id)
    return found

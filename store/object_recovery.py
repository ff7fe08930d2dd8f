"""Claims of processes that were killed between the store and the disk: settled, or undone.

A claim says which event is going to have the usage of an object (:mod:`store.objects`). Whether that event
came to be stands in the segments of its writer, which are read once that writer has been closed
(:mod:`store.spool.closing`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from store import objects
from store.engine import Connection, Engine
from store.spool import journal
from store.spool.segment import segments, writer_of


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
    """Those of `ids` whose events are in these segments, with a usage."""
    found = set()
    for path in paths:
        with path.open("rb") as file:
            for line in file:
                if not any(id_.encode() in line for id_ in ids):
                    continue
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if record.get("event_id") in ids and record.get("usage") is not None:
                    found.add(record["event_id"])
    return found

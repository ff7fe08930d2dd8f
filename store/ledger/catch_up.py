"""Takes into the store what writers wrote whose process died, or ended while the store was away.

The spool keeps their segments until this is done (:mod:`store.spool.rolled`). Each event has the number that
its writer gave it, and the store remembers up to which one it has counted (table `rolled`); so nothing counts
twice, be it read again ever so often.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from store.engine import Engine
from store.errors import StoreUnavailable
from store.ledger.claims import Finished
from store.ledger.clerk import Clerk
from store.ledger.finished import finished_of
from store.rollups import last_rolled
from store.spool import rolled

logger = logging.getLogger(__name__)

BATCH = 500
"""Calls in one transaction."""


def catch_up(spool: Path, engine: Engine, clerk: Clerk) -> int:
    """Take in all that is there of dead writers; returns how many calls that were.

    Safe at any time and in any number of processes. Raises StoreUnavailable; what was not taken in stays.
    """
    count = 0
    for writer in rolled.behind(spool):
        try:
            with rolled.adopted(spool, writer) as mine:
                if mine:
                    count += _take_in(spool, engine, clerk, writer)
        except StoreUnavailable:
            raise
        except Exception:  # of this writer; the others' calls count all the same
            logger.exception("llmproxy: calls of writer %s, which died, could not be counted", writer)
    return count


def _take_in(spool: Path, engine: Engine, clerk: Clerk, writer: str) -> int:
    connection = engine.connect()
    try:
        before = last_rolled(connection, writer)
    finally:
        connection.close()
    count = 0
    for batch in batches_after(spool, writer, before):
        clerk.finish(batch, writer).result()
        count += len(batch)
    if count:
        logger.warning("llmproxy: %d calls of writer %s, which died, are in the store now", count, writer)
    return count


def batches_after(spool: Path, writer: str, last: int) -> Iterator[list[Finished]]:
    """What is on disk of `writer` after number `last`, in order; it may be writing on."""
    batch: list[Finished] = []
    for call in _calls(spool, writer, last):
        batch.append(call)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _calls(spool: Path, writer: str, last: int) -> Iterator[Finished]:
    for path in rolled.segments_of(spool, writer):
        if rolled.last_number(path) <= last:
            continue
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written, or its writer died within it
                record = _record(line)
                # A number may be there twice, where a disk failed while it was written.
                if record is not None and (call := finished_of(record)) is not None and call.seq > last:
                    last = call.seq
                    yield call


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None

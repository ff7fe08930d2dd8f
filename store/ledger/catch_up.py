"""Take into the store what writers wrote whose process died, or ended while the store was away.

The spool keeps their segments until this is done (:mod:`store.spool.usage_checkpoint`). Each event has the
number that its writer gave it, and the store remembers up to which one it has counted (table `rolled`); so
nothing counts twice, be it read again ever so often.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from store.core.errors import StoreUnavailable
from store.core.event_fields import read_call
from store.database.engine import Engine
from store.ledger.finished import finished_of
from store.ledger.messages import Finished
from store.ledger.worker import LedgerWorker
from store.spool import usage_checkpoint
from store.spool.segment import parse
from store.usage.rollups import last_rolled

logger = logging.getLogger(__name__)

BATCH = 500
"""Calls in one transaction."""


def catch_up(spool: Path, engine: Engine, ledger: LedgerWorker) -> int:
    """Take in all that is there of dead writers; returns how many calls that were.

    Safe at any time and in any number of processes. Raises StoreUnavailable; what was not taken in stays.
    """
    count = 0
    for writer in usage_checkpoint.behind(spool):
        try:
            with usage_checkpoint.adopted(spool, writer) as mine:
                if mine:
                    count += _take_in(spool, engine, ledger, writer)
        except StoreUnavailable:
            raise
        except Exception:  # of this writer; the others' calls count all the same
            logger.exception("llmproxy: calls of writer %s, which died, could not be counted", writer)
    return count


def _take_in(spool: Path, engine: Engine, ledger: LedgerWorker, writer: str) -> int:
    connection = engine.connect()
    try:
        before = last_rolled(connection, writer)
    finally:
        connection.close()
    count = 0
    for batch in batches_after(spool, writer, before, is_kept=ledger.keeps_calls):
        ledger.finish(batch, writer).result()
        count += len(batch)
    if count:
        logger.warning("llmproxy: %d calls of writer %s, which died, are in the store now", count, writer)
    return count


def batches_after(spool: Path, writer: str, last: int, *, is_kept: bool = False) -> Iterator[list[Finished]]:
    """Give what is on disk of `writer` after number `last`, in order; it may be writing on."""
    batch: list[Finished] = []
    for call in _calls(spool, writer, last, is_kept=is_kept):
        batch.append(call)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _calls(spool: Path, writer: str, last: int, *, is_kept: bool) -> Iterator[Finished]:
    for path in usage_checkpoint.segments_of(spool, writer):
        if usage_checkpoint.last_number(path) <= last:
            continue
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written, or its writer died within it
                event = read_call(parse(line) or {})
                # A number may be there twice, where a disk failed while it was written.
                if event is not None and (call := finished_of(event, is_kept=is_kept)).seq > last:
                    last = call.seq
                    yield call

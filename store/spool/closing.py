"""Closes writers that died: every call that they left open becomes one event with outcome ``proxy_died``.

A writer is dead when its journal is there and nobody holds the lock on it. Whoever comes first (the next
start of a proxy, a dispatcher) takes the lock, compares what was opened with what the writer's segments
hold, appends the missing events and the closing record in one new segment of that writer, and removes the
journal. Killed in between, it leaves either no segment, or a whole one that the next closer finds.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from store.core.codes import Outcome, UsageMissing
from store.core.event import OPEN_TYPE, USAGE_TYPE, WRITER_TYPE, Cost, Fields, UsageEvent
from store.core.event_fields import blank_event, read_record, to_fields
from store.core.file_locks import taken
from store.core.private_files import sync_folder
from store.spool import journal
from store.spool.segment import (
    SUFFIX,
    encode,
    next_name,
    parse,
    segments,
    write_whole,
    writer_of,
)
from store.spool.writer import closing_record

logger = logging.getLogger(__name__)

EVENT_ID = re.compile(rb'"event_id":"([^"]+)"')

Price = Callable[[UsageEvent], Cost | None]
"""It is what the event's known usage costs at least; the event's ``cost``."""


@dataclass(slots=True)
class Opened:
    """Holds what the journal of one writer says."""

    pending: dict[str, Fields] = field(default_factory=dict)
    """The calls without a mark, oldest first."""
    opened: int = 0
    sequence: int = 0


@dataclass(slots=True)
class Written:
    """Holds what the segments of one writer say."""

    found: set[str] = field(default_factory=set)
    """Those of the pending calls whose event is there."""
    sequence: int = 0
    closed: bool = False


def close_dead_writers(spool: Path, price: Price | None = None) -> int:
    """Close every writer that died, and return how many calls it had left open.

    Safe at any time and in any number of processes. Raises OSError where the disk fails; then nothing is
    changed, or everything.
    """
    closed = 0
    for _, paths in groupby(journal.journals(spool), writer_of):
        with ExitStack() as stack:
            held = list(paths)
            if all(stack.enter_context(taken(path)) for path in held):
                closed += _close(spool, held, price)
    return closed


def _close(spool: Path, paths: list[Path], price: Price | None) -> int:
    writer = writer_of(paths[0])
    opened = read_journal(paths)
    own = [path for path in segments(spool) if writer_of(path) == writer]
    written = read_segments(own, opened.pending.keys())
    lost = [record for id_, record in opened.pending.items() if id_ not in written.found]
    last = max(opened.sequence, written.sequence)
    if lost or (not written.closed and (last or opened.opened)):
        ending = [
            encode({**died(record, price), "writer": writer, "seq": number})
            for number, record in enumerate(lost, last + 1)
        ]
        counts = {"opened": opened.opened, "unrecorded": 0, "died": len(lost)}
        ending.append(encode(closing_record(writer, last + len(lost), **counts)))
        stem = paths[0].name.removesuffix(journal.SUFFIX).rsplit(".", 1)[0]
        name = next_name(own[-1]) if own else spool / f"{stem}.000001{SUFFIX}"
        write_whole(name, b"".join(ending))
    for path in paths:
        path.unlink()
    sync_folder(paths[0].parent)
    if lost:
        logger.warning("closed writer %s, which died: %d calls were under way", writer, len(lost))
    return len(lost)


def read_journal(paths: Iterable[Path]) -> Opened:
    """Give the journal's files of one writer, in order; there are two where it died while it began a new one.

    Never raises for what is in them: a disk may have changed it.
    """
    result = Opened()
    recorded: set[str] = set()
    sent: set[str] = set()
    for path in paths:
        before, here = result.opened, 0
        for line in journal.read(path):
            kind = line.get("type")
            if isinstance(number := line.get("seq"), int):
                result.sequence = max(result.sequence, number)
            if kind == OPEN_TYPE:
                here += 1
                _add(result, line)
            elif kind == journal.HEADER:
                # It says how many there were before this file, though some may stand before it here.
                if isinstance(earlier := line.get("opened"), int):
                    before = earlier
                for record in _list(line.get("carried")):
                    _add(result, record)
            elif kind == journal.SENT:
                sent.add(str(line.get("id")))
            elif kind == journal.RECORDED:
                recorded.update(id_ for id_ in _list(line.get("ids")) if isinstance(id_, str))
        result.opened = before + here
    for id_ in recorded:
        result.pending.pop(id_, None)
    for id_ in sent & result.pending.keys():
        result.pending[id_]["sent"] = True
    return result


def _add(result: Opened, record: Any) -> None:
    if isinstance(record, dict) and isinstance(record.get("event_id"), str):
        result.pending[record["event_id"]] = record


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def read_segments(paths: Iterable[Path], wanted: Iterable[str]) -> Written:
    """Give what `paths` hold of one writer: which of the calls `wanted`, and its last number."""
    result = Written()
    ids = set(wanted)
    for path in paths:
        data = path.read_bytes()
        whole = data.rpartition(b"\n")[0]
        for match in EVENT_ID.finditer(whole):
            # A prompt may quote an id: only the line's own counts.
            if match[1].decode("utf-8", "replace") in ids:
                start = whole.rfind(b"\n", 0, match.start()) + 1
                end = whole.find(b"\n", start)
                record = parse(whole[start : None if end < 0 else end]) or {}
                result.found |= ids & {str(record.get("event_id"))}
        for line in _backwards(whole):
            record = parse(line) or {}
            result.closed |= record.get("type") == WRITER_TYPE
            if isinstance(number := record.get("seq", record.get("last_seq")), int):
                result.sequence = max(result.sequence, number)
                break
    return result


def _backwards(data: bytes) -> Iterator[bytes]:
    """Give the lines of `data`, last one first."""
    end = len(data)
    while end > 0:
        start = data.rfind(b"\n", 0, end) + 1
        yield data[start:end]
        end = start - 1


def died(record: Fields, price: Price | None) -> Fields:
    """Give the event of a call of which only the opening is known; what another version said of it stays."""
    known = {name: value for name, value in record.items() if name not in ("closes_as", "sent")}
    code = UsageMissing.PROXY_DIED
    missing = "the proxy died during this call; what came back is not known"
    if record.get("sent") is False:  # a journal of an earlier version does not say
        known["usage"], code = None, UsageMissing.NOT_SENT
        missing = "the proxy died before the request was sent; nothing is billed"
    fields = {
        **blank_event(),
        **known,
        "type": record.get("closes_as") or USAGE_TYPE,
        "outcome": Outcome.PROXY_DIED.value,
        "error": {
            "type": Outcome.PROXY_DIED.value,
            "code": None,
            "message": "the proxy died during this call",
        },
        "usage_missing": missing,
        "usage_missing_code": code.value,
    }
    cost = price(read_record(fields, UsageEvent)) if price is not None and fields["usage"] else None
    fields["cost"] = to_fields(cost) if cost is not None else None
    return fields

"""Closes writers that died: every call that they left open becomes one event with outcome ``proxy_died``.

A writer is dead when its journal is there and nobody holds the lock on it. Whoever comes first (the next
start of a proxy, a dispatcher) takes the lock, compares what was opened with what the writer's segments
hold, appends the missing events and the closing record in one new segment of that writer, and removes the
journal. Killed in between, it leaves either no segment, or a whole one that the next closer finds.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from store.event import OPEN_TYPE, USAGE_TYPE, WRITER_TYPE, Event, blank_event
from store.locks import taken
from store.spool import journal
from store.spool.segment import SUFFIX, encode, next_name, segments, sync_folder, write_whole, writer_of
from store.spool.writer import closing_record

logger = logging.getLogger(__name__)

EVENT_ID = re.compile(rb'"event_id":"([^"]+)"')

Price = Callable[[Event], Event | None]
"""What the event's known usage costs at least; the event's ``cost``."""


@dataclass(slots=True)
class Opened:
    """What the journal of one writer says."""

    pending: dict[str, Event] = field(default_factory=dict)
    """The calls without a mark, oldest first."""
    opened: int = 0
    sequence: int = 0


@dataclass(slots=True)
class Written:
    """What the segments of one writer hold."""

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
    """The journal's files of one writer, in order; there are two where it died while it began a new one.

    Never raises for what is in them: a disk may have changed it.
    """
    result = Opened()
    recorded: set[str] = set()
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
            elif kind == journal.RECORDED:
                recorded.update(id_ for id_ in _list(line.get("ids")) if isinstance(id_, str))
        result.opened = before + here
    for id_ in recorded:
        result.pending.pop(id_, None)
    return result


def _add(result: Opened, record: Any) -> None:
    if isinstance(record, dict) and isinstance(record.get("event_id"), str):
        result.pending[record["event_id"]] = record


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def read_segments(paths: Iterable[Path], wanted: Iterable[str]) -> Written:
    """What `paths` hold of one writer: which of the calls `wanted`, and its last number."""
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
                record = _record(whole[start : None if end < 0 else end])
                result.found |= ids & {str(record.get("event_id"))}
        for line in _backwards(whole):
            record = _record(line)
            result.closed |= record.get("type") == WRITER_TYPE
            if isinstance(number := record.get("seq", record.get("last_seq")), int):
                result.sequence = max(result.sequence, number)
                break
    return result


def _backwards(data: bytes) -> Iterator[bytes]:
    """The lines of `data`, last one first."""
    end = len(data)
    while end > 0:
        start = data.rfind(b"\n", 0, end) + 1
        yield data[start:end]
        end = start - 1


def _record(line: bytes) -> Event:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def died(record: Event, price: Price | None) -> Event:
    """The event of a call of which only the opening is known."""
    known = {name: value for name, value in record.items() if name != "closes_as"}
    event = {
        **blank_event(),
        **known,
        "type": record.get("closes_as") or USAGE_TYPE,
        "outcome": "proxy_died",
        "error": {"type": "proxy_died", "code": None, "message": "the proxy died during this call"},
        "usage_missing": "the proxy died during this call; what came back is not known",
        "usage_missing_code": "proxy_died",
    }
    event["cost"] = price(event) if price is not None and event["usage"] else None
    return event

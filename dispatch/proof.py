"""Prove completeness: calls accepted, events recorded, events delivered, compared number by number.

Every record carries `writer` and `seq` (1, 2, 3 ... without a gap), and closing records state the last
number, so what is missing can be named. What has not come through is either *waiting* (a cursor has yet to
pass it), *dead* (put aside, with a reason) or *missing*.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

from msgspec import UNSET

from store.bus.forwarder import CONSUMER as BUS_CONSUMER
from store.core.event import WRITER_TYPE, WriterRecord
from store.core.event_fields import read_record
from store.spool import cursor, dead, journal, replay
from store.spool.closing import read_journal
from store.spool.segment import parse, segments, writer_of
from store.spool.survey import lines, ranges

NUMBER = re.compile(r'"writer":"([^"]+)","seq":(\d+)')
"""It is that of a line that is no JSON any more."""

Record = Mapping[str, Any]


@dataclass(slots=True)
class Ledger:
    """Holds what is known of one writer."""

    opened: int | None = None
    """Calls that went upstream; None: not known (its journal and its closing record are gone)."""
    unrecorded: int = 0
    """Those of them without an event: under way, or lost when its disk failed."""
    closed: bool = False
    last: int = 0
    """The highest number that is known to have been given."""
    recorded: set[int] = field(default_factory=set)
    """Numbers in the spool."""
    waiting: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)
    delivered: Counter[int] = field(default_factory=Counter)
    missing: list[int] = field(default_factory=list)

    def read(self, record: Record) -> None:
        """Take over what a closing record says."""
        if record.get("type") != WRITER_TYPE:
            return
        closing = read_record(record, WriterRecord)
        self.closed = True
        self.last = max(self.last, closing.last_seq)
        if closing.opened is not UNSET:
            self.opened = closing.opened
            self.unrecorded = 0 if closing.unrecorded is UNSET else closing.unrecorded


def prove(
    spool: Path,
    since: datetime,
    *,
    slack: timedelta = timedelta(0),
    consumer: str | None = None,
    delivered: Iterable[Record] | None = None,
) -> dict[str, Any]:
    """Compare. `delivered` is what the sink of `consumer` holds; without it only the spool is looked at.

    The sink was read from `slack` before `since` on; of the spool no segment is read that was whole by then.
    """
    ledgers: dict[str, Ledger] = {}
    _read_journals(spool, ledgers)
    _read_spool(spool, since - slack, consumer, ledgers)
    for letter in dead.read(spool, consumer) if consumer else ():
        if found := NUMBER.search(str(letter.get("line"))):
            ledgers.setdefault(found[1], Ledger()).dead.add(int(found[2]))
    ids: Counter[str] = Counter()
    for record in delivered or ():
        if not isinstance(writer := record.get("writer"), str):
            continue
        ledger = ledgers.setdefault(writer, Ledger())
        ledger.read(record)
        if isinstance(number := record.get("seq"), int):
            ledger.delivered[number] += 1
            ids[str(record.get("event_id"))] += 1
    for writer, ledger in ledgers.items():
        _judge(writer, ledger, since, against_sink=delivered is not None)
    return _report(ledgers, ids, since)


def _read_journals(spool: Path, ledgers: dict[str, Ledger]) -> None:
    for writer, files in groupby(journal.journals(spool), writer_of):
        opened = read_journal(list(files))
        ledger = ledgers.setdefault(writer, Ledger())
        ledger.opened, ledger.unrecorded = opened.opened, len(opened.pending)
        ledger.last = max(ledger.last, opened.sequence)


def _read_spool(spool: Path, since: datetime, consumer: str | None, ledgers: dict[str, Ledger]) -> None:
    offsets = _passed(spool, consumer) if consumer else {}
    again = replay.files(spool, consumer) if consumer else []
    for path in [*(path for path in segments(spool) if _changed_since(path, since)), *again]:
        for line in lines(path):
            found = NUMBER.search(line.data.decode("utf-8", "replace")) if line.record is None else None
            writer = found[1] if found else (line.record or {}).get("writer")
            number = int(found[2]) if found else (line.record or {}).get("seq")
            if not isinstance(writer, str):
                continue
            ledger = ledgers.setdefault(writer, Ledger())
            if line.record is not None:
                ledger.read(line.record)
            if isinstance(number, int):
                ledger.recorded.add(number)
                ledger.last = max(ledger.last, number)
                if consumer and line.offset >= offsets.get(path.name, 0):
                    ledger.waiting.add(number)


def _changed_since(path: Path, moment: datetime) -> bool:
    try:
        return path.stat().st_mtime >= moment.timestamp()
    except FileNotFoundError:
        return False


def _passed(spool: Path, consumer: str) -> dict[str, int]:
    """Return how far each segment is done with, as far as `consumer` is concerned.

    A sink that is fed over the bus has no cursor here: the bus lets go of a record when every sink has
    confirmed it. For one that has never read this spool, what every cursor is past may go at any time.
    """
    known = cursor.names(spool)
    names = next(([name] for name in (consumer, BUS_CONSUMER) if name in known), known)
    cursors = [cursor.load(cursor.path_of(spool, name)) for name in names]
    return {name: min(each.get(name, 0) for each in cursors) for name in set().union(*cursors)}


def _judge(writer: str, ledger: Ledger, since: datetime, *, against_sink: bool) -> None:
    known = ledger.recorded | ledger.delivered.keys() | ledger.dead
    ledger.last = max(ledger.last, max(known, default=0))
    # A writer that began later must be there from its first number on; of an older one, from what is seen.
    first = 1 if _began(writer) >= since else min(known, default=ledger.last + 1)
    there = ledger.delivered.keys() | ledger.waiting | ledger.dead if against_sink else ledger.recorded
    if not against_sink:
        # Segments that every consumer is past are gone; what is left must be whole.
        first = min(ledger.recorded, default=ledger.last + 1)
    ledger.missing = [number for number in range(first, ledger.last + 1) if number not in there]


def _began(writer: str) -> datetime:
    """Give when a writer began.

    Its name is a UUIDv7 (RFC 9562), which begins with milliseconds since 1970.
    """
    try:
        return datetime.fromtimestamp((UUID(writer).int >> 80) / 1000, UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


def _report(ledgers: Mapping[str, Ledger], ids: Counter[str], since: datetime) -> dict[str, Any]:
    writers = [
        {
            "writer": writer,
            "closed": ledger.closed,
            "accepted": ledger.opened,
            "without_event": ledger.unrecorded,
            "last_seq": ledger.last,
            "in_spool": len(ledger.recorded),
            "delivered": len(ledger.delivered),
            "waiting": len(ledger.waiting - ledger.delivered.keys()),
            "dead": len(ledger.dead - ledger.delivered.keys()),
            "missing": ranges(iter(ledger.missing)),
            "twice": ranges(iter(sorted(n for n, times in ledger.delivered.items() if times > 1))),
        }
        for writer, ledger in sorted(ledgers.items())
    ]
    lost = sum(len(ledger.missing) for ledger in ledgers.values())
    # A closed writer has no calls under way any more: one without an event was lost with its disk.
    lost += sum(ledger.unrecorded for ledger in ledgers.values() if ledger.closed)
    return {
        "since": since.isoformat(),
        "complete": lost == 0,
        "missing": lost,
        "duplicates": sum(times - 1 for times in ids.values()),
        "writers": writers,
    }


def as_record(text: str | bytes) -> Record:
    """Give a message of a sink; empty where it is none of ours."""
    return parse(text) or {}

"""Put records before one consumer again: ``replay/CONSUMER/*.jsonl``, read like segments.

They keep ``event_id``, ``writer`` and ``seq``, so that what arrives twice can be told. The consumer may be at
work meanwhile: it finds the new file by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from uuid_utils import uuid7

from store.core.private_files import make_folder
from store.spool import dead
from store.spool.cursor import check_name
from store.spool.segment import SUFFIX, parse, segments, write_whole

FOLDER = "replay"
FILE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Range:
    """Says which records; None: any."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, record: dict[str, Any]) -> bool:
        """Tell whether a record is in range by its own time; one without is in no range but the open one."""
        if self.since is None and self.until is None:
            return True
        try:
            moment = datetime.fromisoformat(str(record.get("timestamp")))
        except ValueError:
            return False
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


def files(spool: Path, consumer: str) -> list[Path]:
    """Give what a consumer is to read again, in the order in which it was asked for."""
    return sorted((spool / FOLDER / consumer).glob(f"*{SUFFIX}"))


def replay_range(spool: Path, consumer: str, wanted: Range) -> int:
    """Put the records that are still in the spool and in the range before `consumer`. Returns how many."""
    check_name(consumer)
    return _write(spool, consumer, (line for path in segments(spool) for line in _lines(path, wanted)))


def replay_dead(spool: Path, consumer: str, wanted: Range, reason: str | None = None) -> int:
    """Put dead letters (with `reason` in theirs, if given) before `consumer` again, and forget them.

    Torn and other broken lines are no records: they stay where they are.
    """
    check_name(consumer)

    def fits(letter: dead.Letter) -> bool:
        record = parse(str(letter.get("line")))
        if record is None or (reason is not None and reason not in str(letter.get("reason"))):
            return False
        return wanted.holds(record)

    def use(letters: list[dead.Letter]) -> None:
        _write(spool, consumer, (str(letter["line"]).encode() for letter in letters))

    return dead.take(spool, consumer, fits, use)


def _lines(path: Path, wanted: Range) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and (record := parse(line)) is not None and wanted.holds(record):
                yield line[:-1]


def _write(spool: Path, consumer: str, lines: Iterator[bytes]) -> int:
    folder = spool / FOLDER / consumer
    count, size, part = 0, 0, list[bytes]()

    def flush() -> None:
        if part:
            write_whole(folder / f"replay-{uuid7()}{SUFFIX}", b"".join(part))
            part.clear()

    make_folder(folder, parents=True)
    for line in lines:
        part.append(line + b"\n")
        count, size = count + 1, size + len(line)
        if size > FILE_BYTES:
            flush()
            size = 0
    flush()
    return count

"""Keep how far the store has taken in what each writer wrote: no segment is removed before that.

::

    spool/rolled/0197…c1        locked by its writer for as long as that lives; holds a number

The number is the writer's last event that is in the store's roll-ups and budgets. It is written after the
store's commit, so it may be too low, never too high. The file is made before the writer's first event and
removed when all of them are in the store: by the writer itself at its end, or, where that was killed or the
store was away, by whoever takes in the rest (:mod:`store.ledger.catch_up`). What has no such file (imports,
repricings) is nothing that the store counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from store.core.file_locks import is_held, taken
from store.core.private_files import make_folder, sync_folder
from store.spool import journal
from store.spool.segment import UNFINISHED, parse, segments, writer_of

FOLDER = "rolled"
BLOCK = 2**20


class UsageCheckpoint:
    """Keeps the file of one writer. For one thread at a time. Raises OSError where it can't be made."""

    def __init__(self, spool: Path, writer: str) -> None:
        self._path = spool / FOLDER / writer
        self._descriptor: int | None = self._create()

    def _create(self) -> int:
        make_folder(self._path.parent, parents=True)
        # Locked before it gets its name: an unlocked one is taken for a dead writer's.
        unfinished = self._path.with_name(self._path.name + UNFINISHED)
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unfinished.rename(self._path)
            sync_folder(self._path.parent)
        except OSError:
            os.close(descriptor)
            unfinished.unlink(missing_ok=True)
            raise
        return descriptor

    def move(self, sequence: int) -> None:
        """Note that all events up to `sequence` are in the store. Never raises: too low is harmless."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                if os.fstat(self._descriptor).st_nlink == 0:  # the folder was removed
                    os.close(self._descriptor)
                    self._descriptor = None
                    self._descriptor = self._create()
                os.pwrite(self._descriptor, b"%020d\n" % sequence, 0)

    def close(self, *, whole: bool) -> None:
        """Close as the writer ends; `whole`: every event of it is in the store."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            if whole:
                with contextlib.suppress(OSError):
                    self._path.unlink(missing_ok=True)
            os.close(descriptor)


def behind(spool: Path) -> dict[str, int]:
    """Give the writers that the store has not taken in whole, and up to which event it has.

    Of one that died the number does not count: the store itself knows better, after a power failure too.
    """
    found = {}
    for path in sorted((spool / FOLDER).glob("*")):
        if path.suffix == UNFINISHED:
            continue
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = _number(path) if is_held(path) else 0
    return found


def left_behind(spool: Path) -> list[str]:
    """Give those of them that have ended: a proxy takes in the rest, at its start and every minute."""
    found = []
    for writer in behind(spool):
        with contextlib.suppress(FileNotFoundError):
            if not is_held(spool / FOLDER / writer):
                found.append(writer)
    return found


def is_waiting(path: Path, marks: dict[str, int]) -> bool:
    """Tell whether a segment holds events that are not in the store yet, by what :func:`behind` has found."""
    mark = marks.get(writer_of(path))
    return mark is not None and last_number(path) > mark


@contextlib.contextmanager
def adopted(spool: Path, writer: str) -> Iterator[bool]:
    """Tell whether `writer` is dead, and nobody else takes in what it left; nobody can meanwhile if so.

    At the end without an exception its file is removed, unless its calls that were under way have no events
    yet (:mod:`store.spool.closing`).
    """
    path = spool / FOLDER / writer
    with taken(path) as mine:
        # Asked before anything is read: what is closed meanwhile is taken in the next time.
        closed = not any(writer_of(each) == writer for each in journal.journals(spool))
        yield mine
        if mine and closed:
            path.unlink(missing_ok=True)


def segments_of(spool: Path, writer: str) -> list[Path]:
    """Give those that one writer has written, oldest first."""
    return [path for path in segments(spool) if writer_of(path) == writer]


def last_number(path: Path) -> int:
    """Give the number of the last whole record of a segment; 0 where it has none.

    Raises FileNotFoundError.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        block = BLOCK
        while True:
            start = max(0, size - block)
            file.seek(start)
            lines = file.read(size - start).split(b"\n")[:-1]
            # The first of them may be the end of a line, unless it is all there is.
            for line in reversed(lines if start == 0 else lines[1:]):
                if (number := _numbered(line)) is not None:
                    return number
            if start == 0:
                return 0
            block *= 4


def _numbered(line: bytes) -> int | None:
    record = parse(line)
    number = None if record is None else record.get("seq", record.get("last_seq"))
    return number if isinstance(number, int) else None


def _number(path: Path) -> int:
    text = path.read_bytes().strip()
    return int(text) if text.isdigit() else 0

"""The journal: which calls went upstream and have no event yet.

::

    spool/journal/0197…c1.host.4711.000001.open     locked by its writer for as long as that lives
      {"type":"llm_proxy_journal","opened":0,"carried":[]}       how many were opened before this file
      {"type":"llm_proxy_open","event_id":…, …}                  a call, before it goes upstream
      {"type":"llm_proxy_recorded","ids":[…],"seq":17}           their events are on disk

Lines are written without waiting for the disk: the kernel keeps them when the process dies, and only a power
failure can take them. The files are no segments and lie elsewhere: no log shipper takes them for events.
:mod:`store.spool.closing` turns what a dead writer left open into events.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from store.event import OPEN_TYPE
from store.spool.segment import UNFINISHED, private_umask, segment_name, sync_folder

FOLDER = "journal"
SUFFIX = ".open"
HEADER = "llm_proxy_journal"
RECORDED = "llm_proxy_recorded"
JOURNAL_BYTES = 64 * 2**20
"""Size after which what is still open is carried over into a new file."""

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode  # ASCII: any text becomes a valid line


class Journal:
    """One writer's journal. `opened` may be called by another thread than all else. Raises OSError."""

    def __init__(self, spool: Path, writer: str, *, journal_bytes: int = JOURNAL_BYTES) -> None:
        self._folder = spool / FOLDER
        self._writer = writer
        self._limit = journal_bytes
        self._counter = 0
        self._lock = threading.Lock()
        """Guards what both threads touch; never held while the disk is waited for."""
        self._pending: dict[str, bytes] = {}
        """The lines of calls without an event, by id."""
        self._unmarked: list[str] = []
        """Calls whose events are on disk, which the file does not say yet."""
        self._opened = 0
        self._sequence = 0
        self._torn = False
        with private_umask():
            self._folder.mkdir(exist_ok=True)
        left = _left.pop(self._folder, [])
        for journal in left:
            self._pending |= journal._pending
        self._opened = len(self._pending)
        self._path, self._descriptor = self._create(self._header())
        self._size = 0
        for journal in left:
            journal._remove()

    @property
    def counts(self) -> dict[str, int]:
        """Calls that went upstream, and those of them whose event is not on disk."""
        return {"opened": self._opened, "unrecorded": len(self._pending)}

    def opened(self, record: Mapping[str, Any]) -> None:
        """A call (``event_id``) goes upstream as soon as this returns. Takes microseconds."""
        line = _encode({"type": OPEN_TYPE, **record}).encode() + b"\n"
        with self._lock:
            self._write(line)
            self._pending[record["event_id"]] = line
            self._opened += 1

    def recorded(self, ids: Sequence[str], sequence: int) -> None:
        """The events of `ids` are on disk, the last of them as number `sequence`. Never raises.

        A mark that cannot be written is written with the next one; until then the events themselves, in
        their segment, say that the calls are closed.
        """
        self._sequence = sequence
        with self._lock:
            self._unmarked += [id_ for id_ in ids if self._pending.pop(id_, None)]
        with contextlib.suppress(OSError):
            self._mark()
            if self._size > self._limit:
                self._renew()

    def settle(self) -> None:
        """Make durable what was marked, before the segment that holds the events may be removed."""
        self._mark()
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Remove the file, if every call has its event.

        Otherwise it stays, and locked: a successor in this process (after a reload of the script) takes
        the open calls over; without one they are closed when the process is gone.
        """
        if self._pending:
            with contextlib.suppress(OSError):
                self._mark()
            _left.setdefault(self._folder, []).append(self)
        else:
            self._remove()

    def _mark(self) -> None:
        if self._unmarked:
            mark = {"type": RECORDED, "ids": self._unmarked, "seq": self._sequence}
            with self._lock:
                self._write(_encode(mark).encode() + b"\n")
            self._unmarked = []

    def _write(self, line: bytes) -> None:
        """One write. What a full disk cut short is ended by the next line."""
        data = b"\n" + line if self._torn else line
        self._torn = True
        _write_at_once(self._descriptor, data)
        self._torn = False
        self._size += len(data)

    def _renew(self) -> None:
        """Go on in a new file that holds only what is still open."""
        path, descriptor = self._create(b"")
        with self._lock:
            old_path, old_descriptor = self._path, self._descriptor
            self._path, self._descriptor, self._size, self._torn = path, descriptor, 0, False
            header = self._header()
        with self._lock:
            self._write(header)
        os.fdatasync(descriptor)
        old_path.unlink(missing_ok=True)
        os.close(old_descriptor)

    def _header(self) -> bytes:
        carried = [json.loads(line) for line in self._pending.values()]
        header = {"type": HEADER, "opened": self._opened, "seq": self._sequence, "carried": carried}
        return _encode(header).encode() + b"\n"

    def _create(self, first: bytes) -> tuple[Path, int]:
        """A new file, locked before it gets its name: an unlocked one is taken for a dead writer's."""
        self._counter += 1
        path = self._folder / segment_name(self._writer, self._counter, SUFFIX)
        unfinished = path.with_name(path.name + UNFINISHED)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_at_once(descriptor, first)
            unfinished.rename(path)
            sync_folder(self._folder)
        except OSError:
            os.close(descriptor)
            unfinished.unlink(missing_ok=True)
            raise
        return path, descriptor

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            sync_folder(self._folder)
        os.close(self._descriptor)


def _write_at_once(descriptor: int, data: bytes) -> None:
    if os.write(descriptor, data) < len(data):
        raise OSError(errno.ENOSPC, "a line of the journal was cut short")


_left: dict[Path, list[Journal]] = {}
"""Journals of this process that were closed with calls still open, by folder."""


def journals(spool: Path) -> list[Path]:
    """All journal files, oldest writer first."""
    return sorted((spool / FOLDER).glob(f"*{SUFFIX}"))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal; half a line is one that was never acted upon."""
    for line in path.read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value

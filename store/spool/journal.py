"""Keep the journal: which calls went upstream and have no event yet.

::

    spool/journal/0197…c1.host.4711.000001.open     locked by its writer for as long as that lives
      {"type":"llm_proxy_journal","opened":0,"carried":[]}       how many were opened before this file
      {"type":"llm_proxy_open","event_id":…, …}                  a call, before it goes upstream
      {"type":"llm_proxy_sent","id":…}                           its request goes out, from the head on
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

from store.core.event import OPEN_TYPE
from store.core.private_files import make_folder, sync_folder
from store.spool.segment import UNFINISHED, check_place, encode, parse, segment_name

FOLDER = "journal"
SUFFIX = ".open"
HEADER = "llm_proxy_journal"
RECORDED = "llm_proxy_recorded"
SENT = "llm_proxy_sent"
NOT_SENT_END = b'"sent":false}\n'
"""It says how the line of a call ends whose request has not been sent. (Within texts quotes are escaped.)"""
JOURNAL_BYTES = 64 * 2**20
"""Size after which what is still open is carried over into a new file."""


class Journal:
    """Keeps one writer's journal. `opened` may be called by another thread than all else. Raises OSError."""

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
        self._unsaid: list[bytes] = []
        """Marks of requests that were sent, which the file does not hold yet."""
        self._opened = 0
        self._sequence = 0
        self._torn = False
        make_folder(self._folder)
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
        """Count the calls that went upstream, and those of them whose event is not on disk."""
        return {"opened": self._opened, "unrecorded": len(self._pending)}

    def opened(self, record: Mapping[str, Any]) -> None:
        """Note a call (``event_id``) that goes upstream as soon as this returns. Takes microseconds."""
        line = encode({"type": OPEN_TYPE, **record})
        with self._lock:
            self._write(line)
            self._pending[record["event_id"]] = line
            self._opened += 1

    def sent(self, id_: str) -> None:
        """Note that the request of a call (opened with ``"sent": False``) goes out. Never raises, or waits.

        A mark that cannot be written goes out with the next line. If the process dies before, the call counts
        as one that was never sent.
        """
        with self._lock:
            if id_ not in self._pending:
                return
            self._pending[id_] = self._pending[id_].replace(NOT_SENT_END, b'"sent":true}\n')
            self._unsaid.append(encode({"type": SENT, "id": id_}))
            with contextlib.suppress(OSError):
                self._write(b"")

    def recorded(self, ids: Sequence[str], sequence: int) -> None:
        """Note that the events of `ids` are on disk, the last of them as number `sequence`. Never raises.

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

    def check(self) -> None:
        """Raise OSError where the file was removed or moved away."""
        check_place(self._descriptor, self._path)

    def reopen(self) -> None:
        """Go on in a new file if the present one is gone, with what is still open."""
        try:
            self.check()
        except OSError:
            make_folder(self._folder, parents=True)
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
                self._write(encode(mark))
            self._unmarked = []

    def _write(self, line: bytes) -> None:
        """Write at once. What a full disk cut short is ended by the next line."""
        data = b"".join([b"\n" if self._torn else b"", *self._unsaid, line])
        self._torn = True
        _write_at_once(self._descriptor, data)
        self._torn = False
        self._unsaid.clear()
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
        return encode(header)

    def _create(self, first: bytes) -> tuple[Path, int]:
        """Give a new file, locked before it gets its name: an unlocked one is taken for a dead writer's."""
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
    """Give all journal files, oldest writer first."""
    return sorted((spool / FOLDER).glob(f"*{SUFFIX}"))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Give the whole lines of a journal; half a line is one that was never acted upon."""
    for line in path.read_bytes().split(b"\n"):
        if (record := parse(line)) is not None:
            yield record

"""Publish the local spool to the stream: buffered, pipelined, in a thread of its own.

The spool's cursor moves past a record only when three things hold: its entry is still in the stream, every
group has read past it, and no group has it pending. Together they prove that each group was handed it and
acknowledged it. An entry that is gone (trimmed, deleted, evicted, flushed) proves nothing, and is published
again; so forwarders trim only what every group was past some seconds ago, when each of them has seen it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from store.bus.link import Id, Link, StreamState
from store.core.errors import SpoolBusy
from store.spool import Batch, SpoolReader
from store.spool.closing import Price

logger = logging.getLogger(__name__)

CONSUMER = "bus"
BATCH = 1000
MAX_AHEAD = 256 * 2**20
"""Bytes that are published and not acknowledged by every group: what Redis has to hold for this spool."""
IDLE_SECONDS = 0.1
SETTLE_SECONDS = 0.5
KEEP_SECONDS = 10.0
"""It says how long acknowledged entries stay in the stream, so that every forwarder can see that they
were."""
VERIFY_SECONDS = 5.0
"""Between two readings of single entries, where some of the stream's were deleted one by one."""
RECLAIM_SECONDS = 30.0
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
TELL_SECONDS = 60.0
CLOSE_SECONDS = 5.0


@dataclass(slots=True)
class Publication:
    """Holds a batch that is in the stream and not acknowledged by every group."""

    batch: Batch
    waiting: dict[int, Id]
    """The entries of the records that are not proven to be acknowledged, by their place in the batch."""
    size: int

    def below(self, limit: Id | None) -> list[int]:
        """Give the places of those entries that are lower than `limit`."""
        if limit is None:
            return []
        return [place for place, entry in self.waiting.items() if entry < limit]


class Forwarder:
    """Publishes one spool, for as long as the process lives. Several on one spool take turns."""

    def __init__(
        self, spool: Path, link: Link, *, price: Price | None = None, keep_seconds: float = KEEP_SECONDS
    ) -> None:
        """Take as `keep_seconds` how long acknowledged entries stay in the stream."""
        self.published = 0
        self.acknowledged = 0
        """Records that every group has acknowledged; the local spool has let go of them."""
        self.published_again = 0
        """Records whose entry had gone from the stream before every group had acknowledged it."""
        self._spool = spool
        self._link = link
        self._price = price
        self._keep_seconds = keep_seconds
        self._closing = threading.Event()
        self._ahead: deque[Publication] = deque()
        self._ahead_bytes = 0
        self._offsets: dict[str, int] = {}
        """It says where reading goes on."""
        self._server = ""
        self._groups: set[bytes] = set()
        """The groups that the stream had; they are made again when it was lost."""
        self._added = 0
        """Entries that the stream has seen at least, if it is still the same one."""
        self._bounds: deque[tuple[float, Id]] = deque()
        """It is what every group was past, and when."""
        self._verified = 0.0
        self._told = 0.0
        self._thread = threading.Thread(target=self._run, name="llmproxy-bus", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Publish what is left, for some seconds at most; the rest stays in the spool for the next start."""
        self._closing.set()
        self._thread.join(CLOSE_SECONDS)
        self._link.close()

    def _run(self) -> None:
        failures = 0
        while True:
            try:
                with SpoolReader(self._spool, CONSUMER, price=self._price) as reader:
                    self._forget()
                    self._serve(reader)
                    return
            except SpoolBusy:
                failures = len(PAUSES)  # another proxy of this machine does it; look again later
            except OSError as error:
                failures += 1
                self._tell(error)
            except Exception:
                failures += 1
                logger.exception("llmproxy: the bus failed; trying again")
            if self._closing.wait(PAUSES[min(failures, len(PAUSES)) - 1]):
                return

    def _serve(self, reader: SpoolReader) -> None:
        settled = reclaimed = 0.0
        while True:
            closing = self._closing.is_set()  # asked first: what is there by now is still published
            now = time.monotonic()
            if now - settled > SETTLE_SECONDS or closing:
                settled = now
                with self._link.told():
                    self._settle(reader)
            if now - reclaimed > RECLAIM_SECONDS:
                reclaimed = now
                reader.reclaim()
            batch = self._next(reader)
            if batch or batch.offsets:
                with self._link.told():
                    self._publish(batch)
            elif closing:
                return
            else:
                self._closing.wait(IDLE_SECONDS)

    def _next(self, reader: SpoolReader) -> Batch:
        if self._ahead_bytes > MAX_AHEAD:
            return Batch()
        return reader.read(max_events=BATCH, after=self._offsets)

    def _publish(self, batch: Batch) -> None:
        ids = self._link.add(batch.lines)
        size = sum(len(line) for line in batch.lines)
        self._ahead.append(Publication(batch, dict(enumerate(ids)), size))
        self._ahead_bytes += size
        self._offsets |= batch.offsets
        self.published += len(ids)
        self._added += len(ids)

    def _settle(self, reader: SpoolReader) -> None:
        """Commit what every group has acknowledged; publish again what has gone before."""
        server, bound = self._link.server(), self._link.done_before()
        if self._server not in ("", server) or self._link.server() != server:
            logger.warning("llmproxy: Redis was restarted; what is not acknowledged is published again")
            self._server = self._link.server()
            self._forget()
            self._keep_groups(self._link.state())
            return
        self._server = server
        # Asked after the bound: what the stream still has now, it had when the groups were past it.
        state = self._link.state()
        if not self._keep_groups(state):
            bound = None  # of a stream without some of its groups; what they need must not be released
        for publication in self._ahead:
            self._prove(publication, state, bound)
        self._commit(reader)
        if not self._ahead:
            self._offsets.clear()  # the cursor is there now, too
        self._trim(bound)

    def _keep_groups(self, state: StreamState | None) -> bool:
        """Make the groups again that were lost with the stream. False where it was lost.

        Else a sink whose dispatcher is down just then would get nothing of what comes until it is back.
        """
        added = None if state is None else state.added
        lost = state is None or (added is not None and added < self._added)
        if lost:
            for group in self._groups:
                self._link.create_group(group)
            if self._groups or self._added:
                logger.warning(
                    "llmproxy: Redis has lost the stream %s; its groups begin anew", self._link.stream
                )
        else:
            self._groups = {group["name"] for group in self._link.groups()}
        self._added = added or 0
        return not lost

    def _prove(self, publication: Publication, state: StreamState | None, bound: Id | None) -> None:
        """Take from `publication` the entries that every group has acknowledged; renew those that are gone.

        Entries are done with one by one: what is acknowledged is trimmed while the rest of its batch waits.
        """
        if state is None or state.oldest is None:
            self._publish_again(publication, list(publication.waiting))
            return
        self._publish_again(publication, publication.below(state.oldest))
        passed = publication.below(bound)
        if self._may_be_deleted(publication, passed, state):
            self._publish_again(publication, self._missing(publication, passed))
        for place in passed:
            if bound is not None and publication.waiting[place] < bound:  # not renewed just now
                del publication.waiting[place]
        # Of what no group will ever read past, since there is nothing behind it.
        is_first = publication is self._ahead[0]
        if is_first and time.monotonic() - self._verified > VERIFY_SECONDS:
            rest = list(publication.waiting)
            if self._may_be_deleted(publication, rest, state):
                self._verified = time.monotonic()
                self._publish_again(publication, self._missing(publication, rest))

    @staticmethod
    def _may_be_deleted(publication: Publication, places: list[int], state: StreamState) -> bool:
        """Tell whether one of these entries may be missing between others that are there."""
        if not places:
            return False
        return state.deleted is None or state.deleted >= min(publication.waiting[place] for place in places)

    def _missing(self, publication: Publication, places: list[int]) -> list[int]:
        gone = set(self._link.missing([publication.waiting[place] for place in places]))
        return [place for place in places if publication.waiting[place] in gone]

    def _publish_again(self, publication: Publication, places: list[int]) -> None:
        if not places:
            return
        lines = publication.batch.lines
        ids = self._link.add([lines[place] for place in places])
        publication.waiting |= zip(places, ids, strict=True)
        self.published_again += len(ids)
        self._added += len(ids)
        logger.warning(
            "llmproxy: %d entries had gone from Redis' stream %s before every sink had confirmed them; "
            "published again",
            len(ids),
            self._link.stream,
        )

    def _commit(self, reader: SpoolReader) -> None:
        """Move the cursor past the batches of which every entry is done with, in order."""
        while self._ahead and not self._ahead[0].waiting:
            publication = self._ahead.popleft()
            reader.commit(publication.batch)
            self._ahead_bytes -= publication.size
            self.acknowledged += len(publication.batch.records)

    def _trim(self, bound: Id | None) -> None:
        """Trim to where every group was some seconds ago."""
        if bound is None:
            self._bounds.clear()
            return
        now = time.monotonic()
        self._bounds.append((now, bound))
        old = None
        while now - self._bounds[0][0] >= self._keep_seconds and len(self._bounds) > 1:
            _, old = self._bounds.popleft()
        if old is not None:
            milliseconds, counter = min(old, bound)  # a group that is new has not read all of it
            self._link.client.xtrim(self._link.stream, minid=f"{milliseconds}-{counter}", approximate=True)

    def _forget(self) -> None:
        """Begin again behind what is committed."""
        self._ahead.clear()
        self._offsets.clear()
        self._ahead_bytes = 0

    def _tell(self, error: OSError) -> None:
        now = time.monotonic()
        if not self._told or now - self._told > TELL_SECONDS:
            self._told = now
            logger.warning(
                "llmproxy: bus %s: %s; events wait in the spool",
                error.filename or self._spool,
                error.strerror,
            )

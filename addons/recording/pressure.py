"""Act when the spool has reached its limit because nobody drains it: never silently.

``refuse``: the gate refuses new calls. What is under way is still recorded, so the limit is overstepped by
that; the refusals themselves are only counted, since they could be endless. ``drop``: calls are served and
their events dropped. Either way one record of type ``llm_proxy_dropped`` says how many there were and when,
as soon as there is room again, and the log says so at once and every minute.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from uuid_utils import uuid7

from addons.flow.errors import SPOOL_FULL
from addons.recording.exchange import Exchange
from store.core.event import DroppedRecord
from store.core.times import rfc3339
from store.spool import SpoolWriter

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
"""Between two looks at the size of the folder."""
TELL_SECONDS = 60.0


class Pressure:
    """Watches the size of the spool. For the worker's thread; others may read `full` and `dropped`."""

    def __init__(self, spool: SpoolWriter) -> None:
        self.limit = 0
        """Bytes; 0 for none."""
        self.policy = "refuse"
        self.full = False
        self.dropped = 0
        """Calls without an event since the start."""
        self._spool = spool
        self._looked = 0.0
        self._told = 0.0
        self._untold = 0
        self._since = ""

    def sort_out(self, exchanges: Sequence[Exchange]) -> set[str]:
        """Give the ids of those that are not to be recorded; they are counted, and closed in the journal."""
        self._look()
        if not self.full or not exchanges:
            return set()
        dropped = {
            exchange.id
            for exchange in exchanges
            if self.policy == "drop" or exchange.error_code == SPOOL_FULL.code
        }
        if dropped:
            self._spool.skip(sorted(dropped))
            for exchange in exchanges:
                if exchange.id in dropped and exchange.recorded is not None:
                    exchange.recorded.set_result(None)
            self._since = self._since or rfc3339(datetime.now(UTC))
            self._untold += len(dropped)
            self.dropped += len(dropped)
        self._warn()
        return dropped

    def tell(self) -> None:
        """Record how many events were dropped since the last time. Raises OSError."""
        if self._untold:
            record = DroppedRecord(
                event_id=str(uuid7()),
                timestamp=rfc3339(datetime.now(UTC)),
                since=self._since,
                dropped=self._untold,
                reason=SPOOL_FULL.code,
            )
            self._spool.append([record])
            self._untold, self._since = 0, ""

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        was, self.full = self.full, bool(self.limit) and self._spool.folder_bytes() >= self.limit
        if self.full and not was:
            # Only a segment that has ended can be removed once it is sent on, and make room.
            with contextlib.suppress(OSError):
                self._spool.roll()
        if was and not self.full:
            logger.warning("llmproxy: the spool is below its limit again")
            self._told = 0.0
            try:
                self.tell()
            except OSError as error:
                logger.warning("llmproxy: the count of dropped events is not written yet: %s", error)

    def _warn(self) -> None:
        now = time.monotonic()
        if not self._told or now - self._told > TELL_SECONDS:
            self._told = now
            logger.error(
                "llmproxy: the spool has reached llm_spool_limit=%d: %s; is the dispatcher at work?",
                self.limit,
                "new calls are refused" if self.policy == "refuse" else f"{self._untold} events dropped",
            )

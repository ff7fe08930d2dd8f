"""Put in order what was left behind, by proxies that died and by this one, in the closing thread."""

from __future__ import annotations

import logging
from pathlib import Path

from addons.recording.settling import Settling
from store.core.errors import StoreError
from store.core.periodic_thread import PeriodicThread
from store.database.engine import Engine
from store.ledger import LedgerWorker
from store.ledger.catch_up import catch_up
from store.objects.recovery import recover
from store.spool import close_dead_writers
from store.spool.closing import Price

logger = logging.getLogger(__name__)

SECONDS = 60.0
"""Between two looks. One takes as long as reading the segments of those that died."""


class Recovery:
    """Gives calls that were left open their events, and counts in the store what is only in the spool."""

    def __init__(
        self, spool: Path, price: Price, engine: Engine, ledger: LedgerWorker, settling: Settling
    ) -> None:
        self._spool = spool
        self._price = price
        self._engine = engine
        self._ledger = ledger
        self._settling = settling
        self._thread = PeriodicThread("llmproxy-closing", self._look, pause=lambda: SECONDS)
        self._thread.start()

    def close(self) -> None:
        """Begin no other look. One that is under way is not waited for: it may be cut off anywhere."""
        self._thread.close(0)

    def _look(self) -> None:
        try:
            close_dead_writers(self._spool, self._price)
        except Exception:
            logger.exception("llmproxy: calls that an earlier run left open have no event yet")
        try:
            recover(self._spool, self._engine)
        except Exception as error:
            if not self._thread.closing:
                logger.error(
                    "llmproxy: usage that an earlier run was about to count is not decided: %s", error
                )
        try:
            self._engine.tidy()
        except StoreError as error:
            logger.warning("llmproxy: the store could not be tidied up: %s", error)
        try:
            self._settling.catch_up(self._spool)
            catch_up(self._spool, self._engine, self._ledger)
        except Exception as error:
            if not self._thread.closing:
                logger.error("llmproxy: some calls are not counted in the store yet: %s", error)

"""The closing thread: what was left behind is put in order, by proxies that died and by this one."""

from __future__ import annotations

import logging
import threading
from functools import partial
from pathlib import Path

from addons.cost import Prices, cost_of
from addons.settling import Settling
from store.engine import Engine
from store.ledger import Clerk
from store.ledger.catch_up import catch_up
from store.object_recovery import recover
from store.spool import close_dead_writers

logger = logging.getLogger(__name__)

SECONDS = 60.0
"""Between two looks. One takes as long as reading the segments of those that died."""


class Closing:
    """Gives calls that were left open their events, and counts in the store what is only in the spool."""

    def __init__(self, spool: Path, prices: Prices, engine: Engine, clerk: Clerk, settling: Settling) -> None:
        self._spool = spool
        self._price = partial(cost_of, prices=prices)
        self._engine = engine
        self._clerk = clerk
        self._settling = settling
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="llmproxy-closing", daemon=True).start()

    def close(self) -> None:
        """Begin no other look. One that is under way is not waited for: it may be cut off anywhere."""
        self._ended.set()

    def _run(self) -> None:
        while True:
            self._look()
            if self._ended.wait(SECONDS):
                return

    def _look(self) -> None:
        try:
            close_dead_writers(self._spool, self._price)
        except Exception:
            logger.exception("llmproxy: calls that an earlier run left open have no event yet")
        try:
            recover(self._spool, self._engine)
        except Exception as error:
            if not self._ended.is_set():
                logger.error(
                    "llmproxy: usage that an earlier run was about to count is not decided: %s", error
                )
        try:
            self._settling.catch_up(self._spool)
            catch_up(self._spool, self._engine, self._clerk)
        except Exception as error:
            if not self._ended.is_set():
                logger.error("llmproxy: some calls are not counted in the store yet: %s", error)

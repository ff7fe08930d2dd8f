"""Keep a running proxy's prices those of the store's newest list."""

from __future__ import annotations

import logging
from collections.abc import Callable

from addons.openai.pricing import price_file
from addons.openai.pricing.price_file import BadPrices
from addons.openai.pricing.prices import Prices
from store.core.errors import StoreError
from store.core.periodic_thread import PeriodicThread
from store.database.engine import Connection, Engine
from store.prices.lists import find_newest, read_content

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""It says how long a new list takes at most to hold, besides the reading of it."""


def read_list(connection: Connection) -> Prices | None:
    """Read the store's newest list; None if it has none. Raises StoreError, and BadPrices naming it."""
    newest = find_newest(connection)
    content = None if newest is None else read_content(connection, newest.number)
    if newest is None or content is None:
        return None
    try:
        return price_file.parse(content, newest.name)
    except BadPrices as error:
        raise BadPrices(f"price list {newest.name} of the store: {error}") from error


class PriceWatch:
    """Reads each new list once, in a thread, and hands it to `on_list`."""

    def __init__(self, engine: Engine, on_list: Callable[[Prices], None]) -> None:
        self._engine = engine
        self._on_list = on_list
        self.started = False
        self._number = 0
        self._connection: Connection | None = None
        self._thread = PeriodicThread(
            "llmproxy-prices",
            self._look,
            pause=lambda: POLL_SECONDS,
            first=POLL_SECONDS,
            end=self._disconnect,
        )

    def start(self) -> None:
        """Take the list that is there, then watch. A store that is away is asked again."""
        self.started = True
        self._look()
        self._thread.start()

    def close(self) -> None:
        self._thread.close()

    def _look(self) -> None:
        try:
            if self._connection is None or not self._connection.is_current():
                self._disconnect()
                self._connection = self._engine.connect()
            newest = find_newest(self._connection)
            if newest is None or newest.number == self._number:
                return
            self._number = newest.number
            if (found := read_list(self._connection)) is not None:
                self._on_list(found)
        except BadPrices as error:
            logger.error("llmproxy: %s; the prices before it stay in force.", error)
        except StoreError:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

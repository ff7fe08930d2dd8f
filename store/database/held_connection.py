"""Keep a connection for a thread, as long as it leads to the store that is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from store.core.errors import StoreError, StoreUnavailable
from store.database.engine import Connection, Engine

Away = Callable[[], StoreError | None]
"""It says why the store counts as away, by somebody who keeps asking it; None while it answers."""


def unknown() -> None:
    """Do nothing: nobody asks."""


class KeptConnection:
    """Connects when first needed, and again after :meth:`close`, or where the store's file was replaced."""

    def __init__(
        self,
        engine: Engine,
        *,
        busy_seconds: float,
        on_close: Callable[[], None] = lambda: None,
        away: Away = unknown,
    ) -> None:
        """Keep no connection yet. `on_close` forgets what was read by it.

        While the store is `away` it is not waited for.
        """
        self._engine = engine
        self._busy_seconds = busy_seconds
        self._on_close = on_close
        self._away = away
        self._connection: Connection | None = None

    def get(self) -> Connection:
        """Give the connection. Raises StoreUnavailable."""
        if (why := self._away()) is not None:
            raise StoreUnavailable(str(why)) from why
        if self._connection is None or not self._connection.is_current():
            self.close()
            self._connection = self._engine.connect(busy_seconds=self._busy_seconds)
        return self._connection

    def close(self) -> None:
        """Close the connection, at any time; one that is broken, too."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(StoreError):
                connection.close()
        self._on_close()

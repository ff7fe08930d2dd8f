"""A connection that a thread keeps for as long as it leads to the store that is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from store.engine import Connection, Engine
from store.errors import StoreError


class KeptConnection:
    """Made when it is first needed, and again after :meth:`close`, or where the store's file was replaced."""

    def __init__(
        self, engine: Engine, *, busy_seconds: float, on_close: Callable[[], None] = lambda: None
    ) -> None:
        """`on_close` forgets what was read by it."""
        self._engine = engine
        self._busy_seconds = busy_seconds
        self._on_close = on_close
        self._connection: Connection | None = None

    def get(self) -> Connection:
        """Raises StoreUnavailable."""
        if self._connection is None or not self._connection.is_current():
            self.close()
            self._connection = self._engine.connect(busy_seconds=self._busy_seconds)
        return self._connection

    def close(self) -> None:
        """At any time; one that is broken, too."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(StoreError):
                connection.close()
        self._on_close()

"""One connection for a thread, as long as it leads to the store that is there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from store.core.errors import StoreError, StoreUnavailable
from store.database.held_connection import KeptConnection


class Connection:
    def __init__(self) -> None:
        self.current, self.closed = True, False

    def is_current(self) -> bool:
        return self.current

    def close(self) -> None:
        self.closed = True
        if not self.current:
            raise StoreError("it is broken")


class Engine:
    """Makes connections, and remembers them."""

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.waits: list[float] = []

    def connect(self, *, busy_seconds: float) -> Connection:
        self.waits.append(busy_seconds)
        self.made.append(Connection())
        return self.made[-1]


def kept(
    engine: Engine,
    forget: Callable[[], None] = lambda: None,
    away: Callable[[], StoreError | None] = lambda: None,
) -> KeptConnection:
    return KeptConnection(engine, busy_seconds=1.5, on_close=forget, away=away)  # type: ignore[arg-type]


def test_it_is_made_when_it_is_needed_and_kept() -> None:
    engine = Engine()
    connection = kept(engine)
    assert engine.made == []
    assert connection.get() is connection.get()
    assert engine.waits == [1.5]


def test_it_is_made_anew_where_the_store_was_replaced() -> None:
    engine, forgotten = Engine(), []
    connection = kept(engine, lambda: forgotten.append(len(engine.made)))
    first = connection.get()
    forgotten.clear()
    engine.made[0].current = False
    second = connection.get()
    assert second is not first
    assert engine.made[0].closed, "one that is broken is closed, too"
    assert forgotten == [1], "what was read by it is forgotten before the next one is made"


def test_a_store_that_is_away_is_not_waited_for() -> None:
    engine = Engine()
    why: list[StoreError] = [StoreError("no route to the host")]
    connection = kept(engine, away=lambda: why[-1] if why else None)
    with pytest.raises(StoreUnavailable, match="no route to the host"):
        connection.get()
    assert engine.made == []
    why.clear()
    assert connection.get() is engine.made[0]


def test_it_can_be_closed_at_any_time() -> None:
    engine, forgotten = Engine(), []
    connection = kept(engine, lambda: forgotten.append(1))
    connection.close()
    connection.get()
    connection.close()
    assert engine.made[0].closed
    assert len(forgotten) >= 2
    assert connection.get() is engine.made[1]

"""Let connections that bring much take turns, so that others never wait for more than one of them.

mitmproxy reads 64 KB of a connection at a time, works on that without a pause, and goes on to the next 64 KB
without one while asyncio has them; twenty uploads or streams at full speed so hold up all others for a
second. Here a connection that has brought a large piece goes on when its turn has come: in each round of the
event loop one of them, or as many as are soon done with, in the order in which they came. Nothing waits for
time to pass; who is alone goes on at once.

``tests/addons/mitm/test_turns.py`` fails when a version of mitmproxy changes what this relies on.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from mitmproxy.proxy.events import DataReceived
from mitmproxy.proxy.server import ConnectionHandler

LARGE = 16 * 2**10
"""Bytes of one read after which a connection waits for its turn. An event of a stream is far shorter."""
ROUND_SECONDS = 0.0005
"""It says how long large pieces are worked on in one round of the event loop; one is, however long it
takes."""
LEAST_SECONDS = 0.00005
"""It is what a large piece counts for, however soon it is done with."""


class Turns:
    """Gives turns; on one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._began: float | None = None
        """It says when the first large piece of this round of the loop began to be worked on."""
        self._cost = ROUND_SECONDS
        """Seconds that a large piece takes, about."""

    async def take(self, began: float) -> None:
        """Wait for a turn, after work on a large piece that began then, by the same clock."""
        loop, now = asyncio.get_running_loop(), self._clock()
        self._cost += (max(now - began, LEAST_SECONDS) - self._cost) / 8
        if self._began is None:
            self._began = began
            loop.call_soon(self._next_round, loop)
        if not self._waiting and now - self._began < ROUND_SECONDS:
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next_round(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let as many go on as take a round's time together; one at least."""
        self._began = None
        due = max(1, int(ROUND_SECONDS / self._cost))
        while self._waiting and due:
            turn = self._waiting.popleft()
            if not turn.done():  # as it is when its connection has ended
                turn.set_result(None)
                due -= 1
        if self._waiting:
            self._began = self._clock()  # for those who have not been large so far
            loop.call_soon(self._next_round, loop)


class _Done:
    """Is awaited where nothing is to wait for."""

    def __await__(self) -> Iterator[None]:
        return iter(())


_DONE: Any = _Done()


def _has_unsent(handler: Any) -> bool:
    """Tell whether a peer of a connection has not taken all yet, or may have gone."""
    for transport in handler.transports.values():
        writer = transport.writer
        if writer is None:
            continue
        stream = getattr(writer, "transport", None)  # none over UDP
        if stream is None or stream.is_closing() or stream.get_write_buffer_size():
            return True
    return False


def install() -> None:
    """Have the connections of mitmproxy take turns. Installed once per process."""
    handler: Any = ConnectionHandler
    server_event, drain_writers = handler.server_event, handler.drain_writers
    if getattr(server_event, "_llmproxy_turns", False):
        return
    turns = Turns()

    @functools.wraps(server_event)
    def server_event_sized(self: Any, event: Any) -> Awaitable[None]:
        if isinstance(event, DataReceived):
            large = len(event.data) >= LARGE
            self._llmproxy_began = time.monotonic() if large else None
        return server_event(self, event)  # type: ignore[no-any-return]

    async def drain_and_wait(self: Any, began: float) -> None:
        await drain_writers(self)
        await turns.take(began)

    @functools.wraps(drain_writers)
    def drain_writers_in_turn(self: Any) -> Awaitable[None]:
        if (began := self.__dict__.get("_llmproxy_began")) is not None:
            return drain_and_wait(self, began)
        return drain_writers(self) if _has_unsent(self) else _DONE  # type: ignore[no-any-return]

    server_event_sized._llmproxy_turns = True  # type: ignore[attr-defined]
    handler.server_event = server_event_sized
    handler.drain_writers = drain_writers_in_turn

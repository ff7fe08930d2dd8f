"""Connections that bring much take turns; and probes of what that relies on."""

from __future__ import annotations

import asyncio
import inspect
import statistics
import time
from collections.abc import Iterator
from typing import Any

from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.proxy.server import ConnectionHandler, LiveConnectionHandler
from mitmproxy.test import taddons

from addons.mitm import turns
from addons.mitm.turns import LARGE, Turns


def test_every_read_is_followed_by_the_writers() -> None:
    source = inspect.getsource(ConnectionHandler.handle_connection)
    assert source.index("await reader.read(") < source.index("await self.server_event(")
    assert source.index("await self.server_event(") < source.index("await self.drain_writers()")


class Work:
    """Gives turns by a clock that goes on with each piece of work only."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now, self.done = seconds, 0.0, 0
        self.turns = Turns(lambda: self.now)

    async def go_on(self, times: int) -> None:
        for _ in range(times):
            began = self.now
            self.now += self.seconds
            self.done += 1
            await self.turns.take(began)


async def rounds(work: Work, takers: int, times: int) -> list[int]:
    """Give how many pieces are done in each round of the loop, while so many take turns."""
    found: list[int] = []
    tasks = [asyncio.create_task(work.go_on(times)) for _ in range(takers)]
    while not all(task.done() for task in tasks):
        before = work.done
        await asyncio.sleep(0)
        found.append(work.done - before)
    await asyncio.gather(*tasks)
    return found


async def test_one_goes_on_in_each_round() -> None:
    found = await rounds(Work(0.0015), 5, 10)
    assert sum(found) == 50
    assert max(found[1:]) == 1, "all begin in the first"


async def test_pieces_that_are_soon_done_with_share_a_round() -> None:
    found = await rounds(Work(turns.ROUND_SECONDS / 4.5), 20, 20)
    assert sum(found) == 400
    assert statistics.median(found) == 4


async def test_who_is_alone_does_not_wait() -> None:
    assert (await rounds(Work(0.0), 1, 20))[0] == 20


async def test_who_is_alone_gives_way_after_a_while() -> None:
    assert max(await rounds(Work(0.0015), 1, 10)) == 1


async def test_whose_connection_has_ended_keeps_nobody() -> None:
    work = Work(0.0015)
    ended, goes_on = (asyncio.create_task(work.go_on(10)) for _ in range(2))
    await asyncio.sleep(0)
    ended.cancel()
    await asyncio.wait_for(goes_on, 5)
    assert ended.cancelled()


class Peer:
    """A peer that takes nothing of `unsent` bytes until it is told to."""

    def __init__(self, unsent: int = 0) -> None:
        self.unsent, self.waits, self.drained, self.taken = unsent, False, False, asyncio.Event()
        self.transport = self

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    async def drain(self) -> None:
        self.drained = True
        if self.unsent:
            self.waits = True
            await self.taken.wait()

    def close(self) -> None:
        pass


class Connection(LiveConnectionHandler):
    """Notes in `order` what it reads from its client, all of which has come already."""

    def __init__(self, name: str, order: list[str], peer: Peer, *, size: int, reads: int = 4) -> None:
        with taddons.context(Proxyserver()) as context:
            options = context.options
        reader = asyncio.StreamReader()
        super().__init__(reader, peer, options, ProxyMode.parse("regular"))  # type: ignore[arg-type]
        self.layer = Noting(Context(self.client, options))
        self.layer.name, self.layer.order = name, order
        self.reader = reader
        reader.feed_data(b"x" * size * reads)

    async def handle_hook(self, hook: commands.StartHook) -> None:
        pass


class Noting(Layer):
    """Takes a while for each piece."""

    name: str
    order: list[str]

    def _handle_event(self, event: events.Event) -> Iterator[commands.Command]:
        if isinstance(event, events.DataReceived):
            self.order.append(self.name)
            time.sleep(0.0015)
        yield from ()


async def served(*connections: Connection) -> None:
    tasks = [asyncio.create_task(each.handle_client()) for each in connections]
    for _ in range(50):
        await asyncio.sleep(0)
    for each in connections:
        await each.on_timeout()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)


async def test_connections_that_bring_much_take_turns() -> None:
    turns.install()
    order: list[str] = []
    await served(*(Connection(name, order, Peer(), size=65535) for name in "ab"))
    assert order == ["a", "b"] * 4, "and not all of a before all of b"


async def test_a_peer_that_takes_nothing_is_waited_for() -> None:
    turns.install()
    order: list[str] = []
    for size in (100, LARGE):
        peer = Peer(unsent=1)
        connection = Connection("a", order, peer, size=size, reads=1)
        await served(connection)
        assert peer.waits


async def test_nobody_waits_for_a_peer_that_has_taken_all() -> None:
    turns.install()
    peer = Peer()
    await served(Connection("a", [], peer, size=100, reads=1))
    assert not peer.drained

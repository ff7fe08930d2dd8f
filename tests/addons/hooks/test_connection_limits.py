"""Connections that are closed for others' sake; mitmproxy's are stood in for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mitmproxy.connection import Client
from mitmproxy.test import tflow

from addons.flow.bounds import Bounds
from addons.flow.call import open_calls
from addons.hooks.connection_limits import ConnectionLimits
from addons.mitm import bounds as mitm_bounds
from addons.mitm import connections as mitm_connections
from addons.runtime import Runtime


@dataclass
class Found:
    client: Client
    quiet_seconds: float = 0.0
    has_upstream: bool = False
    closed: bool = False

    def close(self) -> None:
        self.closed = True


@dataclass
class World:
    """A proxy's connections."""

    found: list[Found] = field(default_factory=list)

    def connect(self, limits: ConnectionLimits, address: str = "10.0.0.1", **state: Any) -> Found:
        client = tflow.tclient_conn()
        client.peername = (address, 1000 + len(self.found))
        client.timestamp_start = time.time()
        found = Found(client, **state)
        self.found.append(found)
        limits.client_connected(client)
        return found

    def call(self, of: Found, **state: Any) -> None:
        """Have a call be under way."""
        flow = tflow.tflow()
        flow.client_conn = of.client
        flow.request.timestamp_end = None
        known: dict[str, Any] = {"refused": None, "websocket": False, "started": time.monotonic(), **state}
        open_calls[flow.id] = cast(Any, SimpleNamespace(flow=flow, **known))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World()
    monkeypatch.setattr(mitm_connections, "client_connections", lambda: iter(world.found))
    yield world
    open_calls.clear()


def limits(**bounds: int) -> ConnectionLimits:
    settings = SimpleNamespace(bounds=Bounds(**bounds))
    return ConnectionLimits(cast(Runtime, SimpleNamespace(settings=settings, refused=False)))


def test_the_longest_idle_connection_makes_room(world: World) -> None:
    rule = limits(connections=2)
    first, second = world.connect(rule, quiet_seconds=5), world.connect(rule, quiet_seconds=9)
    other = world.connect(rule, "10.0.0.2", quiet_seconds=99)
    third = world.connect(rule)
    assert [found.closed for found in (first, second, other, third)] == [False, True, False, False]
    assert third.client.error is None


def test_calls_and_tunnels_in_use_are_not_idle_but_refused_calls_are(world: World) -> None:
    rule = limits(connections=3)
    calling, tunnel = (
        world.connect(rule, quiet_seconds=9),
        world.connect(rule, quiet_seconds=9, has_upstream=True),
    )
    refused = world.connect(rule, quiet_seconds=1)
    world.call(calling)
    world.call(refused, refused="invalid_api_key")
    world.connect(rule)
    assert [found.closed for found in (calling, tunnel, refused)] == [False, False, True]


def test_where_all_are_in_use_one_more_is_refused(world: World) -> None:
    rule = limits(connections=1)
    world.call(world.connect(rule))
    more = world.connect(rule)
    assert "llm_client_connections" in str(more.client.error)
    rule.client_disconnected(more.client)
    rule.client_disconnected(world.found[0].client)
    assert world.connect(rule).client.error is None


def test_any_number_is_allowed_by_zero(world: World) -> None:
    rule = limits(connections=0)
    assert not any(world.connect(rule).client.error for _ in range(9))


def test_heads_and_bodies_that_take_too_long(world: World) -> None:
    rule = limits(head_seconds=10, body_seconds=100)
    silent, asked, upstream = (world.connect(rule) for _ in range(3))
    for found in (silent, asked, upstream):
        found.client.timestamp_start -= 11
    upstream.has_upstream = True  # a tunnel whose bytes are not ours to read
    slow_head, quick_head = world.connect(rule), world.connect(rule)
    mitm_bounds.head_began[slow_head.client] = time.monotonic() - 11
    mitm_bounds.head_began[quick_head.client] = time.monotonic()
    stalled, long, sending, waiting = (world.connect(rule) for _ in range(4))
    flow = tflow.tflow()
    flow.client_conn = asked.client
    rule.requestheaders(flow)
    world.call(stalled)
    stalled.quiet_seconds = 11
    world.call(long, started=time.monotonic() - 101)
    world.call(sending, started=time.monotonic() - 50)
    world.call(waiting, started=time.monotonic() - 500, websocket=True)
    rule.close_late()
    closed = {name for name, found in locals().items() if isinstance(found, Found) and found.closed}
    assert closed == {"silent", "slow_head", "stalled", "long"}

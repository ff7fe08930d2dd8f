"""Addresses that were checked are the only ones dialled; and probes of what that relies on in mitmproxy."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Callable
from typing import Any

import pytest
from mitmproxy import options
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, mode_servers, mode_specs, server
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from addons.mitm import dialing as mitm_dialing


def of(address: str, port: int) -> mitm_dialing.AddressInfo:
    return socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]


async def dialled(name: str, port: int, on_connect: Callable[[ServerConnectionHookData], None]) -> Server:
    """Have mitmproxy open a connection to `name`, with `on_connect` as its hook."""
    reader, writer = asyncio.StreamReader(), _Writer()
    given = options.Options()
    given.add_option("tcp_timeout", int, 600, "") if "tcp_timeout" not in given else None
    over = asyncio.Event()
    handler = server.SimpleConnectionHandler(
        reader,
        writer,  # type: ignore[arg-type]
        given,
        mode_specs.ProxyMode.parse("regular"),
        {
            "server_connect": on_connect,
            "server_connected": lambda data: over.set(),
            "server_connect_error": lambda data: over.set(),
        },
    )
    target = Server(address=(name, port))
    opening = asyncio.create_task(handler.open_connection(commands.OpenConnection(target)))
    await asyncio.wait_for(over.wait(), 10)
    opening.cancel()
    await asyncio.wait([opening])
    return target


class _Writer:
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were looked up; none of them is found."""
    asked: list[str] = []

    def look_up(host: str, port: int, *given: Any, **named: Any) -> Any:
        asked.append(host)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


async def test_each_checked_address_is_tried_and_the_name_is_not_looked_up_again(
    looked_up: list[str],
) -> None:
    listening = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    looked_up.clear()
    nobody, somebody = (
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.9", "127.0.0.1")
    )
    target = await dialled(
        "twice.example",
        port,
        lambda data: mitm_dialing.dial_only("twice.example", port, [nobody, somebody]),
    )
    assert target.error is None
    assert target.peername == ("127.0.0.1", port)
    assert target.address == ("twice.example", port), "so that the connection is found again"
    assert looked_up == []
    listening.close()


async def test_an_address_that_does_not_answer_gives_way_to_the_next(
    looked_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under eager tasks, as mitmproxy runs them where there are such."""
    loop = asyncio.get_running_loop()
    if hasattr(asyncio, "eager_task_factory"):
        loop.set_task_factory(asyncio.eager_task_factory)
    monkeypatch.setattr(mitm_dialing, "SECONDS_EACH", 0.05)
    listening = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    full = socket.create_server(("127.0.0.9", listening.sockets[0].getsockname()[1]), backlog=0)
    port = full.getsockname()[1]
    waiting = [socket.socket() for _ in range(3)]
    for each in waiting:  # they fill its queue, so that the next one gets no answer
        each.setblocking(False)
        each.connect_ex(("127.0.0.9", port))
    addresses = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", port)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
    ]
    target = await dialled(
        "slow.example", port, lambda data: mitm_dialing.dial_only("slow.example", port, addresses)
    )
    assert target.peername == ("127.0.0.1", port)
    for each in (*waiting, full, listening):
        each.close()


async def test_addresses_that_fail_are_an_error_and_no_further_look_up(looked_up: list[str]) -> None:
    nobody = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", 9))
    target = await dialled(
        "gone.example", 9, lambda data: mitm_dialing.dial_only("gone.example", 9, [nobody])
    )
    assert target.error
    assert looked_up == []


async def test_what_was_not_checked_is_looked_up_as_ever(looked_up: list[str]) -> None:
    mitm_dialing.dial_only("checked.example", 9, [])
    target = await dialled("other.example", 9, lambda data: None)
    assert "name resolution" in str(target.error)
    assert looked_up == ["other.example"]


def test_mitmproxy_dials_in_the_task_that_awaited_the_hook() -> None:
    source = inspect.getsource(server.ConnectionHandler.open_connection)
    hook = source.index("await self.handle_hook(server_hooks.ServerConnectHook(hook_data))")
    assert hook < source.index("await asyncio.open_connection(")
    handled = inspect.getsource(mode_servers.ProxyConnectionHandler.handle_hook)
    assert "await self.master.addons.handle_lifecycle(hook)" in handled
    assert "create_task" not in handled


def test_tunnels_may_go_through_a_proxy() -> None:
    """What :func:`mitm_dialing.tunnel_through_proxies` relies on."""
    source = inspect.getsource(HttpStream.handle_connect)
    assert "yield from self.handle_connect_regular()" in source
    assert "HttpUpstreamProxy.make(self.context, True)" in inspect.getsource(
        HttpStream.handle_connect_upstream
    )
    assert "self.flow.server_conn.via" in inspect.getsource(HttpStream)
    assert "if event.via:" in inspect.getsource(HttpLayer.get_connection)

"""mitmproxy listens on sockets that were handed down, in place of its own."""

from __future__ import annotations

import inspect
import socket

import pytest
from mitmproxy import options
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy.mode_servers import AsyncioServerInstance
from mitmproxy.test import taddons

from addons.mitm import listeners


def test_mitmproxy_still_listens_in_this_method() -> None:
    original = inspect.unwrap(AsyncioServerInstance.listen)
    assert list(inspect.signature(original).parameters) == ["self", "host", "port"]
    assert "asyncio.start_server(self.handle_stream, host, port)" in inspect.getsource(original)


async def test_an_inherited_socket_is_listened_on_and_outlives_the_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AsyncioServerInstance, "listen", AsyncioServerInstance.listen)
    with socket.create_server(("127.0.0.1", 0)) as shared:
        port = shared.getsockname()[1]
        monkeypatch.setenv(listeners.VARIABLE, f"127.0.0.1:{port}={shared.fileno()}")
        listeners.use_inherited()
        proxyserver = Proxyserver()
        with taddons.context(proxyserver) as context:
            assert isinstance(context.options, options.Options)
            # Of an https target mitmproxy would offer HTTP/3 as well, which cannot be shared.
            context.configure(proxyserver, mode=[f"reverse:https://example.com@127.0.0.1:{port}"])
            assert await proxyserver.setup_servers()
            (instance,) = proxyserver.servers
            assert instance.listen_addrs == (("127.0.0.1", port),)
            context.configure(proxyserver, server=False)
            assert await proxyserver.setup_servers()
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass  # it waits for whoever listens next


def test_what_was_not_handed_down_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(listeners.VARIABLE, "127.0.0.1:1=9 ::1:2=10")
    assert listeners.inherited("127.0.0.1", 2) is None
    monkeypatch.delenv(listeners.VARIABLE)
    assert listeners.inherited("127.0.0.1", 1) is None

"""Listen on sockets that are open already: several proxies share a port, and none is closed in a restart.

``llmproxy serve`` opens the sockets and hands them down. The kernel keeps the connections that wait on one
while its proxy is replaced. ``tests/addons/mitm/test_listeners.py`` fails when a version of mitmproxy changes
what this relies on.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from typing import Any

from mitmproxy.proxy.mode_servers import AsyncioServerInstance

VARIABLE = "LLMPROXY_LISTENERS"
"""It is that of a proxy's environment: ``HOST:PORT=DESCRIPTOR``, separated by blanks."""


def inherited(host: str, port: int) -> socket.socket | None:
    """Return a socket that listens there already; its user closes it. None where none was handed down."""
    descriptor = _handed_down().get(f"{host}:{port}")
    if descriptor is None:
        return None
    found = socket.socket(fileno=os.dup(descriptor))
    found.setblocking(False)
    return found


def is_handed_down(host: str, port: int | None) -> bool:
    """Tell whether a socket that listens there was handed down."""
    return f"{host}:{port}" in _handed_down()


def use_inherited() -> None:
    """Have mitmproxy listen on the sockets that were handed down. Installed once, before mitmproxy starts.

    Only TCP: UDP, by which mitmproxy offers HTTP/3, cannot be shared among processes.
    """
    for descriptor in _handed_down().values():
        os.set_inheritable(descriptor, False)
    original: Any = AsyncioServerInstance.listen
    if getattr(original, "_llmproxy", False):
        return

    @functools.wraps(original)
    async def listen(self: Any, host: str, port: int) -> list[Any]:
        found = inherited(host, port)
        if found is None:
            return list(await original(self, host, port))
        return [await asyncio.start_server(self.handle_stream, sock=found)]

    listen._llmproxy = True  # type: ignore[attr-defined]
    AsyncioServerInstance.listen = listen  # type: ignore[method-assign]


def _handed_down() -> dict[str, int]:
    pairs = (one.rpartition("=") for one in os.environ.get(VARIABLE, "").split())
    return {address: int(descriptor) for address, _, descriptor in pairs}

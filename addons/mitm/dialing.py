"""Dial checked addresses, by the internals of mitmproxy and asyncio on which that relies.

``tests/addons/mitm/test_dialing.py`` fails when a version changes them.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import socket
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from mitmproxy.proxy.layers.http import HttpStream

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""As :func:`socket.getaddrinfo` gives it."""
SECONDS_EACH = 5.0
"""Longest that an address is tried while there is another one. (asyncio's own way, to try the next beside it
after a moment, fails on Python 3.13.0 under the eager tasks that mitmproxy uses.)"""


@dataclass(frozen=True, slots=True)
class _Checked:
    host: str
    port: int
    addresses: Sequence[AddressInfo]


_checked: ContextVar[_Checked | None] = ContextVar("llmproxy_checked_addresses", default=None)


async def look_up(host: str, port: int) -> Sequence[AddressInfo]:
    """Ask the system for the addresses of `host`. Raises OSError where it knows none."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def dial_only(host: str, port: int, addresses: Sequence[AddressInfo]) -> None:
    """Have the connection to `host` that is about to be opened dialled at `addresses`, and nowhere else.

    For the hook ``server_connect``: mitmproxy awaits it in the task that dials afterwards, by
    :func:`asyncio.open_connection`, which would look the name up again and might get another answer. The
    addresses are tried in turn, those of both families alternating.
    """
    loop: Any = asyncio.get_running_loop()
    if not hasattr(loop, "_llmproxy_checked"):
        loop._llmproxy_checked = True
        _use_checked_addresses(loop)
    _checked.set(_Checked(host, port, addresses))


def tunnel_through_proxies() -> None:
    """Have clients' tunnels go through the proxy that ``server.via`` names when their CONNECT is answered.

    mitmproxy does so in its mode ``upstream`` only. Installed once per process.
    """
    original: Any = HttpStream.handle_connect_regular
    if getattr(original, "_llmproxy", False):
        return

    @functools.wraps(original)
    def handle_connect_regular(self: Any) -> Any:
        if self.context.server.via and not self.flow.response:
            yield from self.handle_connect_upstream()
        else:
            yield from original(self)

    handle_connect_regular._llmproxy = True  # type: ignore[attr-defined]
    HttpStream.handle_connect_regular = handle_connect_regular  # type: ignore[method-assign]


def _use_checked_addresses(loop: Any) -> None:
    """Replace the dialling of `loop`; other hosts are looked up and dialled as before."""
    create_connection = loop.create_connection

    async def dial_checked(factory: Any, host: Any = None, port: Any = None, **given: Any) -> Any:
        checked = _checked.get()
        if checked is None or (checked.host, checked.port) != (host, port):
            return await create_connection(factory, host, port, **given)
        errors = []
        addresses = _alternating(checked.addresses)
        for number, (address, _) in enumerate(addresses, 1):
            limit = None if number == len(addresses) else SECONDS_EACH
            try:
                async with asyncio.timeout(limit):
                    return await create_connection(factory, address, port, **given)
            except TimeoutError:
                errors.append(f"{address} does not answer")
            except OSError as error:
                errors.append(f"{address}: {error.strerror or error}")
        raise OSError(f"cannot connect to {host}: {'; '.join(errors) or 'it has no address'}")

    loop.create_connection = dial_checked


def _alternating(addresses: Sequence[AddressInfo]) -> list[Any]:
    """Order addresses so that their families alternate, beginning as the system does (RFC 8305 section 4)."""
    families: dict[int, list[Any]] = {}
    for family, *_, address in addresses:
        if address not in families.setdefault(family, []):
            families[family].append(address)
    rounds = itertools.zip_longest(*families.values())
    return [address[:2] for address in itertools.chain(*rounds) if address is not None]

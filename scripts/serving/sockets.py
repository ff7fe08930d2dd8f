"""Open the sockets of ``llmproxy serve``: one for each proxy and address, open as long as it runs."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from scripts.client.proxy_process import StartFailed

BACKLOG = 1024
"""Connections that may wait on a socket, such as while its proxy is replaced."""


@dataclass(slots=True)
class Address:
    """Is a place at which all proxies listen."""

    option: str
    host: str
    """Empty for all interfaces."""
    port: int
    """0 until a free one is found."""
    sockets: list[socket.socket] = field(default_factory=list)
    """One for each proxy, or one for all."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host or '*'}:{self.port}"

    @property
    def key(self) -> str:
        """Name it as a proxy does (see :mod:`addons.mitm.listeners`)."""
        return f"{self.host}:{self.port}"

    @property
    def mode(self) -> str:
        """Write it as the end of a mode of mitmproxy's."""
        return f"{self.host}:{self.port}" if self.host else str(self.port)

    def open(self, count: int) -> None:
        """Open `count` sockets, among which the kernel shares new connections. Raises StartFailed."""
        try:
            self._check_free()
            for _ in range(count):
                self.sockets.append(self._listen(reuse=True))
                self.port = int(self.sockets[0].getsockname()[1])
        except OSError as error:
            raise StartFailed(
                f"{self} can't be listened on ({error.strerror or error}); choose another with {self.option}."
            ) from error

    def of(self, number: int) -> socket.socket:
        """Give the socket of a proxy."""
        return self.sockets[number % len(self.sockets)]

    def close(self) -> None:
        for each in self.sockets:
            each.close()
        self.sockets.clear()

    def _check_free(self) -> None:
        """Raise OSError where somebody listens there, who would share the connections."""
        if self.port:
            self._listen(reuse=False).close()

    def _listen(self, *, reuse: bool) -> socket.socket:
        if not self.host and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", self.port),
                family=socket.AF_INET6,
                dualstack_ipv6=True,
                backlog=BACKLOG,
                reuse_port=reuse,
            )
        found = socket.getaddrinfo(
            self.host or None, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return socket.create_server(
            (self.host, self.port), family=found[0][0], backlog=BACKLOG, reuse_port=reuse
        )


def parse(text: str, option: str) -> Address:
    """Read ``HOST:PORT``, or a port of all interfaces. Raises ValueError."""
    host, _, port = text.rpartition(":")
    number = int(port)
    if not 0 <= number <= 65535:
        raise ValueError(text)
    return Address(option, host.strip("[]"), number)


@contextlib.contextmanager
def opened(addresses: list[Address], count: int) -> Iterator[None]:
    """Open the sockets of `addresses`, `count` for each but the management's. Raises StartFailed."""
    try:
        for each in addresses:
            each.open(1 if each.option == "--management" else count)
        yield
    finally:
        for each in addresses:
            each.close()

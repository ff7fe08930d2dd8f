"""Describe the proxy through which this one reaches the internet (option ``llm_outgoing_proxy``)."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from mitmproxy.connection import Client
from mitmproxy.net.server_spec import ServerSpec
from mitmproxy.proxy.mode_specs import UpstreamMode

from store.core.errors import KeyUnavailable
from store.core.secret import Secret
from store.core.urls import split_url
from store.keys import key_references


@dataclass(frozen=True, slots=True)
class OutgoingProxy:
    """Says where it is, and what it wants to see; ``str()`` shows no credentials."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    credentials: Secret | None = None
    """``USER:PASSWORD``."""

    @property
    def via(self) -> ServerSpec:
        """Give it as mitmproxy notes it at a connection that goes through it."""
        return (self.scheme, (self.host, self.port))

    @property
    def authorization(self) -> str | None:
        """Give the value of ``Proxy-Authorization``."""
        if self.credentials is None:
            return None
        return "Basic " + base64.b64encode(self.credentials.reveal().encode()).decode()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_outgoing_proxy(text: str) -> OutgoingProxy:
    """Read the option's value. Raises ValueError, with the remedy.

    A password stands in the environment or a file, which ``env:NAME`` and ``file:/PATH`` name: an option of
    the command line can be read by every user of the machine.
    """
    url = text
    if text.startswith(("env:", "file:")):
        try:
            url = key_references.read_text(key_references.check(text))
        except KeyUnavailable as error:
            raise ValueError(str(error).rstrip(".")) from None
    parts = split_url(url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.port == 0
        or parts.path.strip("/")
    ):
        shown = text if url == text and not parts.username else "what it leads to"
        raise ValueError(f"{shown!r} is not a proxy's URL; write it like http://proxy.example:3128")
    if parts.username and url == text:
        raise ValueError("a password on the command line can be read by others; write env:NAME or file:/PATH")
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    return OutgoingProxy(
        "https" if parts.scheme == "https" else "http",
        parts.hostname,
        parts.port or (443 if parts.scheme == "https" else 80),
        Secret(credentials) if credentials else None,
    )


def way_out(client: Client, configured: OutgoingProxy | None) -> tuple[str, int] | None:
    """Return the address of the proxy through which the calls of `client` leave, or None: they go straight.

    A listener of mitmproxy's mode ``upstream`` has one of its own.
    """
    if isinstance(client.proxy_mode, UpstreamMode):
        return client.proxy_mode.address
    return (configured.host, configured.port) if configured else None

"""Find where a request truly goes, and whether that is a place that may receive a key.

The true destination is the address that mitmproxy will dial (``flow.request.host``), never the Host header or
``:authority``, which the client writes. All names that a client gives (CONNECT target, SNI, Host) must agree:
behind a shared edge (a CDN) a request for one name can otherwise be led to another tenant's server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mitmproxy import http
from mitmproxy.net.http import url as http_url
from mitmproxy.proxy.mode_specs import ReverseMode

from addons.flow.network.addresses import is_loopback, normalise
from addons.openai.providers import FAMILIES, provider_of
from store.core.secret import Secret
from store.core.urls import split_url


@dataclass(frozen=True, slots=True)
class Upstream:
    """Describes a server that may receive a key: where it is, and how it wants the key."""

    host: str
    port: int
    tls: bool
    path: str = ""
    """Prefix of the base URL, without a trailing slash."""

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def authority(self) -> str:
        """Give the value of the Host header: the port only where it is not the scheme's own.

        RFC 9110 section 7.2.
        """
        return http_url.hostport(self.scheme, self.host, self.port)

    def credential(self, key: Secret) -> tuple[str, str]:
        """Give the header that carries `key`, as its provider reads it."""
        return provider_of(self.host).credential(key.reveal())

    def target(self, path: str) -> str:
        """Join the base URL's prefix and a request path; a ``/v1`` that both carry is written once."""
        prefix = self.path
        if prefix.endswith("/v1") and (path == "/v1" or path.startswith(("/v1/", "/v1?"))):
            prefix = prefix.removesuffix("/v1")
        return prefix + path

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_upstream(base_url: str) -> Upstream:
    """Read a base URL. Raises ValueError, with the remedy, for one that could carry a key in the clear."""
    parts = split_url(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{base_url!r} is not a base URL; write it like https://api.openai.com")
    if parts.query or parts.fragment or parts.username:
        raise ValueError(f"{base_url!r} must not hold a user, a query or a fragment")
    tls = parts.scheme == "https"
    host = normalise(parts.hostname)
    if not tls and not is_loopback(host):
        raise ValueError(
            f"{base_url!r} would send keys in the clear; use https (http only towards this machine)"
        )
    return Upstream(host, parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Destinations:
    """Holds the rule that tells OpenAI traffic from other traffic."""

    hosts: Sequence[str]
    """Names of the OpenAI hosts that are served; ``*.openai.azure.com`` stands for any name below."""
    upstream: Upstream | None = None
    """It says where calls to those hosts are sent instead (option ``llm_upstream``)."""

    def is_openai(self, host: str | None) -> bool:
        """Tell whether the API is there, as far as is known: what goes there passes the gate or not at all.

        A host that is among the known ones and not among the proxy's is refused.
        """
        return self.serves(host) or _is_among(host, FAMILIES)

    def serves(self, host: str | None) -> bool:
        """Tell whether calls to it may pass."""
        return _is_among(host, self.hosts)

    def is_reverse(self, flow: http.HTTPFlow) -> bool:
        return isinstance(flow.client_conn.proxy_mode, ReverseMode)

    def concerns(self, flow: http.HTTPFlow) -> bool:
        """Tell whether the gate judges this: all on a reverse listener, and any that names an OpenAI host."""
        return (
            self.is_reverse(flow)
            or self.is_openai(flow.request.host)
            or self.is_openai(flow.client_conn.sni)
            or self.is_openai(flow.request.pretty_host)
        )

    def resolve(self, flow: http.HTTPFlow) -> Upstream:
        """Give the upstream that `flow` will reach. Raises ValueError where no key may go."""
        request = flow.request
        host = normalise(request.host)
        if self.is_reverse(flow):
            target = self.upstream or Upstream(host, request.port, request.scheme == "https")
            if not target.tls and not is_loopback(target.host):
                raise ValueError(f"the reverse listener's target http://{host} is not https")
            return target
        if not self.serves(host):
            raise ValueError(not_served(host))
        if request.scheme != "https":
            raise ValueError(f"use https://{host}: a token sent by plain http can be read on its way")
        if request.port != 443:
            raise ValueError(f"port {request.port} of {host} is not allowed, only 443")
        for name in names_given(flow):
            if normalise(name) != host:
                raise ValueError(f"the request goes to {host} but names {name}")
        return self.upstream or Upstream(host, 443, True)

    def is_upstream(self, host: str, port: int) -> bool:
        """Tell whether this is the upstream that is configured, wherever that is."""
        configured = self.upstream
        return configured is not None and (normalise(host), port) == (configured.host, configured.port)

    def why_not(self, host: str, port: int) -> str | None:
        """Say why a connection to a host of the API is refused, or None."""
        if not self.serves(host):
            return not_served(host)
        return None if port == 443 else f"port {port} of {host} is not allowed, only 443"


def not_served(host: str) -> str:
    return f"the request would go to {host}, which is not an OpenAI host of this proxy (option llm_hosts)"


def _is_among(host: str | None, patterns: Sequence[str]) -> bool:
    return host is not None and any(fnmatchcase(normalise(host), pattern) for pattern in patterns)


def names_given(flow: http.HTTPFlow) -> list[str]:
    """Give every host name that the client wrote: SNI, Host headers, ``:authority``, without ports."""
    request = flow.request
    names = [flow.client_conn.sni] if flow.client_conn.sni else []
    for value in (*request.headers.get_all("host"), request.authority):
        if value:
            host, port = http_url.parse_authority(value, check=False)
            names.append(host if port in (None, 443) else f"{host}:{port}")
    return names

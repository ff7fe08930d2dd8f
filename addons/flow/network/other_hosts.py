"""Rule on hosts that are not OpenAI's: who may reach them, and at which ports (``llm_other_hosts``)."""

from __future__ import annotations

from dataclasses import dataclass

from addons.flow.network.addresses import is_loopback, is_public, parse_address

CLOUDFLARE_ECH = "cloudflare-ech.com"
"""The outer name of encrypted ClientHellos to servers behind Cloudflare, the API's among them (RFC 9849)."""


@dataclass(frozen=True, slots=True)
class OtherHosts:
    """Without this rule the proxy would carry anybody's bytes anywhere: an open relay."""

    clients: str = "pass"
    """pass: clients on this machine and private networks; open: all clients; refuse: nobody."""
    ports: frozenset[int] = frozenset({443, 80})

    def why_not(self, client: str | None, host: str, port: int) -> str | None:
        """Say why `client` may not reach `host`, or None. Names are looked up only when they are dialled."""
        if self.clients == "refuse":
            return f"{host} is not an OpenAI host, and others are refused (option llm_other_hosts)"
        if self.clients == "pass" and not _is_inside(client):
            return (
                f"{host} is not an OpenAI host, and others are passed only to clients on this machine and on "
                f"private networks, not to {client or 'one without an address'} (option llm_other_hosts)"
            )
        if is_loopback(host) or (parse_address(host) is not None and not is_public(host)):
            return f"{host} is not a public address"
        if port not in self.ports:
            allowed = ", ".join(map(str, sorted(self.ports)))
            return f"port {port} of {host} is not allowed, only {allowed} (option llm_other_ports)"
        return None


def hides_its_name(host: str, server_name: str | None) -> bool:
    """Tell whether a TLS connection names no server: neither the tunnel's target nor the ClientHello does.

    Nobody can say then that it does not lead to the API.
    """
    if parse_address(host) is None:
        return False
    return (
        not server_name
        or parse_address(server_name) is not None
        or server_name.lower().rstrip(".") == CLOUDFLARE_ECH
    )


def _is_inside(client: str | None) -> bool:
    return client is not None and parse_address(client) is not None and not is_public(client)

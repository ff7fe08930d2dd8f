"""Decide which hosts clients reach through the proxy, and at which addresses.

Calls to OpenAI hosts are left to the gate (:mod:`addons.hooks.gate`). All other hosts pass untouched or are
refused, and none of them is dialled at an address that is not public.
"""

from __future__ import annotations

import asyncio
from weakref import WeakSet

from mitmproxy import connection, http, tcp, tls
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from addons.flow import errors, flow_metadata
from addons.flow.fail_closed import fail_closed, refuse
from addons.flow.network.addresses import is_public
from addons.flow.network.framing import malformed
from addons.flow.network.other_hosts import hides_its_name
from addons.mitm import dialing as mitm_dialing
from addons.mitm.outgoing_proxy import way_out
from addons.runtime import Runtime

LOOK_UP_SECONDS = 2.0
"""Longest that a name is looked up which another proxy is to look up anyway."""


class DestinationGuard:
    """Refuse destinations that are not allowed, before anything is dialled."""

    name = "llmproxy-destinations"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.raw_clients: WeakSet[connection.Client] = WeakSet()

    @fail_closed
    async def http_connect(self, flow: http.HTTPFlow) -> None:
        """Judge the target of a tunnel."""
        if flow.response:
            return None
        if why := await self.why_not_request(flow):
            return refuse(flow, errors.destination_refused(why))
        self.lead_out(flow)
        flow.metadata[flow_metadata.CLEARED] = True
        return None

    def http_connect_upstream(self, flow: http.HTTPFlow) -> None:
        """Show our credentials to the outgoing proxy."""
        proxy = self.runtime.settings.outgoing_proxy
        if proxy and proxy.authorization and flow.server_conn.address == proxy.via[1]:
            flow.request.headers["proxy-authorization"] = proxy.authorization

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """Intercept TLS to an OpenAI host, by address or server name, and TLS that names no host at all.

        All else stays untouched.
        """
        destinations = self.runtime.settings.destinations
        address, server_name = data.context.server.address, data.client_hello.sni
        named = destinations.is_openai(server_name) or (
            address is not None
            and (destinations.is_openai(address[0]) or hides_its_name(address[0], server_name))
        )
        data.ignore_connection = not (named or _is_reverse(data.context.client))

    @fail_closed
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Clear plain HTTP to another host, or refuse it; the gate judges the rest."""
        if not flow.live or flow.response or flow.error:
            return None
        self.lead_out(flow)
        if self.runtime.settings.destinations.concerns(flow):
            return None
        if why := malformed(flow.request):
            return refuse(flow, errors.malformed(why))
        host = flow.request.host
        why = await self.why_not_request(flow)
        if flow.client_conn.tls_established:
            why = f"TLS to {host} without a server name (SNI) is refused: it may be an OpenAI host"
        if why:
            return refuse(flow, errors.destination_refused(why))
        flow.metadata[flow_metadata.CLEARED] = True
        return None

    def lead_out(self, flow: http.HTTPFlow) -> None:
        """Have the connection of `flow` go through the outgoing proxy, where there is one."""
        proxy, server = self.runtime.settings.outgoing_proxy, flow.server_conn
        if proxy and server.via != proxy.via and not server.connected:
            server.via = proxy.via

    async def why_not_request(self, flow: http.HTTPFlow) -> str | None:
        """Say why the client may not reach the host that it asks for, or None.

        What another proxy is to dial is looked up here, as far as names are known here, too. All else is
        looked up when it is dialled.
        """
        client, host, port = flow.client_conn, flow.request.host, flow.request.port
        settings = self.runtime.settings
        why = self.why_not(client, host, port)
        if why or settings.destinations.is_openai(host) or not way_out(client, settings.outgoing_proxy):
            return why
        try:
            found = await asyncio.wait_for(mitm_dialing.look_up(host, port), LOOK_UP_SECONDS)
        except (OSError, TimeoutError):
            return None
        private = not all(is_public(address[0]) for *_, address in found)
        return f"{host} leads to an address that is not public" if private else None

    def why_not(self, client: connection.Client, host: str, port: int) -> str | None:
        """Say why `client` may not reach `host`, or None."""
        settings = self.runtime.settings
        if settings.destinations.is_openai(host):
            return settings.destinations.why_not(host, port)
        peer = client.peername
        return settings.other_hosts.why_not(peer[0] if peer else None, host, port)

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """Judge each connection before it is opened, whatever led to it; dial only checked addresses."""
        if data.server.address is None or data.server.via:
            return
        host, port = data.server.address[:2]
        try:
            management = self.runtime.settings.management
            if management is not None and management.covers(host, port):
                data.server.error = "the proxy's own management port is no destination"
            elif data.client in self.raw_clients:
                data.server.error = "raw bytes towards an OpenAI host are refused"
            elif way := way_out(data.client, self.runtime.settings.outgoing_proxy):
                if (host, port) != way:
                    data.server.error = f"{host} would be reached without the outgoing proxy"
            elif not self.is_configured(data.client, host, port):
                data.server.error = self.why_not(data.client, host, port)
                if not (data.server.error or self.runtime.settings.destinations.serves(host)):
                    await self.lead_to_public(data.server, host, port)
        except Exception as error:
            data.server.error = f"llmproxy could not check {host}: {error}"

    def is_configured(self, client: connection.Client, host: str, port: int) -> bool:
        """Tell whether the operator wrote this destination down, so that it may be anywhere."""
        return _is_reverse(client) or self.runtime.settings.destinations.is_upstream(host, port)

    async def lead_to_public(self, server: connection.Server, host: str, port: int) -> None:
        """Have `server` dialled at the public addresses of `host`; an unknown name, or one that also leads to
        another address, is refused."""
        try:
            found = await mitm_dialing.look_up(host, port)
        except OSError as error:
            server.error = f"{host} has no address: {error.strerror or error}"
            return
        if not found or not all(is_public(address[0]) for *_, address in found):
            server.error = f"{host} leads to an address that is not public"
        elif server.transport_protocol == "tcp":
            mitm_dialing.dial_only(host, port, found)
        else:
            server.address = found[0][-1][:2]

    def tcp_start(self, flow: tcp.TCPFlow) -> None:
        """Stop bytes that are not HTTP where the gate would have to judge them.

        That is towards an OpenAI host, or inside of TLS that was opened to see where it leads.
        """
        address = flow.server_conn.address
        destinations = self.runtime.settings.destinations
        if (
            destinations.is_openai(address and address[0])
            or destinations.is_openai(flow.client_conn.sni)
            or flow.client_conn.tls_established
        ):
            self.raw_clients.add(flow.client_conn)

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        """Empty what a client sends that :meth:`tcp_start` found."""
        if flow.client_conn in self.raw_clients:
            flow.messages[-1].content = b""


def _is_reverse(client: connection.Client) -> bool:
    return client.proxy_mode.type_name == "reverse"

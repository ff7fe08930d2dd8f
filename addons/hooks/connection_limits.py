"""Bound what clients keep open before they have shown a token: connections, heads and bodies half sent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from weakref import WeakSet

from mitmproxy import connection, http

from addons.flow import errors
from addons.flow.call import Call, open_calls
from addons.mitm import bounds as mitm_bounds
from addons.mitm import connections as mitm_connections
from addons.mitm.connections import ClientConnection
from addons.runtime import Runtime

logger = logging.getLogger(__name__)

WAITING_BYTES = 2**20
"""Taken in from a client while a check awaits something."""
LOOK_SECONDS = 2.0
"""It says how often clients are looked for that take too long."""
TUNNEL_QUIET_SECONDS = 60.0
"""After which a connection with an upstream, but no call, counts as idle."""


class ConnectionLimits:
    """Close the connections of clients that hold what others need."""

    name = "llmproxy-connection-limits"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._by_address: defaultdict[str, set[connection.Client]] = defaultdict(set)
        self._has_asked: WeakSet[connection.Client] = WeakSet()
        self._task: asyncio.Task[None] | None = None

    def running(self) -> None:
        """Set the bounds that hold for every connection, and look after them from now on."""
        if self._runtime.refused:
            return
        mitm_bounds.bound_what_waits_for_hooks(WAITING_BYTES)
        mitm_connections.raise_file_limit()
        mitm_connections.report_exhaustion()
        self._apply()
        self._task = asyncio.get_running_loop().create_task(self._look_after())

    def configure(self, updated: set[str]) -> None:
        """Apply the options again when one changes."""
        if self._task is not None and any(name.startswith("llm_") for name in updated):
            self._apply()

    def _apply(self) -> None:
        bounds = self._runtime.settings.bounds
        answer = errors.HEAD_TOO_LARGE.response().raw_content or b""
        mitm_bounds.bound_request_heads(bounds.head_bytes, answer)
        mitm_bounds.bound_websocket_messages(bounds.message_bytes)

    def done(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def client_connected(self, client: connection.Client) -> None:
        """Make room for `client`, or refuse it where all that its address has is in use."""
        if client.transport_protocol != "tcp":
            return
        address = client.peername[0]
        of_address = self._by_address[address]
        of_address.add(client)
        limit = self._runtime.settings.bounds.connections
        if limit and len(of_address) > limit:
            idle = self._longest_idle(of_address - {client})
            if idle is None:
                client.error = f"{address} has {limit} connections in use (option llm_client_connections)"
                logger.warning("llmproxy: %s", client.error)
            else:
                idle.close()

    def client_disconnected(self, client: connection.Client) -> None:
        """Forget `client`."""
        address = client.peername[0]
        of_address = self._by_address.get(address, set())
        of_address.discard(client)
        if not of_address:
            self._by_address.pop(address, None)

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Note that the client has asked for something."""
        self._has_asked.add(flow.client_conn)

    requestheaders = http_connect

    def _longest_idle(self, clients: set[connection.Client]) -> ClientConnection | None:
        """Give the connection among those of `clients` that has been idle the longest."""
        busy = {call.flow.client_conn for call in open_calls.values() if not call.refused}
        idle = [
            found
            for found in mitm_connections.client_connections()
            if found.client in clients
            and found.client not in busy
            and not (found.has_upstream and found.quiet_seconds < TUNNEL_QUIET_SECONDS)
        ]
        return max(idle, key=lambda found: found.quiet_seconds, default=None)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self.close_late()
            except Exception:
                logger.exception("llmproxy: connections could not be looked through")

    def close_late(self) -> None:
        """Close connections whose request's head, or body, takes longer than it may."""
        sending = {
            call.flow.client_conn: call
            for call in open_calls.values()
            if call.flow.request.timestamp_end is None and not call.websocket
        }
        for found in mitm_connections.client_connections():
            if why := self._why_late(found, sending.get(found.client)):
                logger.info("llmproxy: closed a connection of %s: %s", found.client.peername[0], why)
                found.close()

    def _why_late(self, found: ClientConnection, call: Call | None) -> str | None:
        bounds, now = self._runtime.settings.bounds, time.monotonic()
        if call is not None:
            if now - call.started > bounds.body_seconds:
                return f"its request's body took more than {bounds.body_seconds} s"
            if found.quiet_seconds > bounds.head_seconds:
                return f"nothing of its request's body came for {bounds.head_seconds} s"
            return None
        began = mitm_bounds.head_began.get(found.client)
        if began is None and found.client not in self._has_asked and not found.has_upstream:
            began = now - (time.time() - found.client.timestamp_start)
        if began is not None and now - began > bounds.head_seconds:
            return f"its request's head took more than {bounds.head_seconds} s"
        return None

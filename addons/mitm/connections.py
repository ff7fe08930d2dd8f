"""Close connections and let go of what has ended, by the internals of mitmproxy that hold them.

``tests/addons/mitm/test_connections.py`` fails when a version changes them.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mitmproxy import ctx
from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.proxy import commands
from mitmproxy.proxy.events import ConnectionClosed
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream
from mitmproxy.proxy.layers.http._events import RequestEndOfMessage

from addons.mitm.internals import Commands

logger = logging.getLogger(__name__)

MOST_FILES = 65536
"""Open files that the process asks for, where its hard limit has more."""
QUIET_SECONDS = 60.0
"""It says how often at most the log says that there are no more connections to be had."""


@dataclass(frozen=True, slots=True)
class ClientConnection:
    """Shows a connection of a client, as mitmproxy serves it."""

    client: Client
    handler: Any

    @property
    def quiet_seconds(self) -> float:
        """Give how long ago, in seconds, anything happened on it or on its upstream connections."""
        return float(time.time() - self.handler.timeout_watchdog.last_activity)

    @property
    def has_upstream(self) -> bool:
        """Tell whether an upstream connection is open, or being opened, for it."""
        return any(isinstance(found, Server) for found in self.handler.transports)

    def close(self) -> None:
        """Reset it; mitmproxy then ends what was under way, and its upstream connections."""
        transport = self.handler.transports.get(self.client)
        if transport is not None and transport.writer is not None:
            transport.writer.transport.abort()


def client_connections() -> Iterator[ClientConnection]:
    """Give every TCP connection of a client."""
    proxyserver = ctx.master.addons.get("proxyserver")
    for handler in list(proxyserver.connections.values()) if proxyserver else ():
        if handler.client.transport_protocol == "tcp":
            yield ClientConnection(handler.client, handler)


def answer_before_the_body() -> None:
    """Have a request that waits for ``100 Continue`` answered at once where a hook has refused it.

    mitmproxy asks for the body first, and reads it to its end. Installed once per process.
    """
    original: Any = HttpStream.state_wait_for_request_headers
    if getattr(original, "_llmproxy", False):
        return

    @functools.wraps(original)
    def state_wait_for_request_headers(self: Any, event: Any) -> Commands:
        waits = event.request.headers.get("expect", "").lower() == "100-continue"
        commands: Commands = original(self, event)
        return answering(self, commands) if waits else commands

    def answering(self: Any, inner: Commands) -> Commands:
        reply = None
        while True:
            try:
                command = inner.send(reply)
            except StopIteration:
                break
            reply = yield command
            if self.flow.response is not None:
                self.flow.request.headers.pop("expect", None)  # no 100 then
        if self.flow.response is None or self.client_state != self.state_consume_request_body:
            return
        http1 = not self.flow.request.is_http2
        if http1:
            self.flow.response.headers["connection"] = "close"
        yield from self.state_consume_request_body(RequestEndOfMessage(self.stream_id))
        if http1:
            yield commands.CloseConnection(self.context.client)

    state_wait_for_request_headers._llmproxy = True  # type: ignore[attr-defined]
    HttpStream.state_wait_for_request_headers = state_wait_for_request_headers  # type: ignore[method-assign]


def forget_closed_connections() -> None:
    """Have mitmproxy let go of upstream connections that have ended, and of the request that each one holds.

    A client of HTTP/2 makes one for each call to an HTTP/1 upstream. Installed once per process.
    """
    original: Any = HttpLayer._handle_event
    if getattr(original, "_llmproxy", False):
        return

    @functools.wraps(original)
    def _handle_event(self: Any, event: Any) -> Commands:
        commands: Commands = original(self, event)
        return _then_forget(self, event, commands) if isinstance(event, ConnectionClosed) else commands

    _handle_event._llmproxy = True  # type: ignore[attr-defined]
    HttpLayer._handle_event = _handle_event  # type: ignore[method-assign]


def _then_forget(layer: Any, event: ConnectionClosed, commands: Commands) -> Commands:
    yield from commands
    # That its end was told is the sign, not its state: one that is being opened or closed is CLOSED, too.
    # At an event of a connection that it does not know the layer fails, and with it all calls of a client.
    ended: set[Any] = layer.__dict__.setdefault("_llmproxy_ended", set())
    ended.add(event.connection)
    used = _used_connections(layer)
    for connection in [each for each in ended if each not in used]:
        if connection.state is ConnectionState.CLOSED:
            layer.connections.pop(connection, None)
            ended.discard(connection)


def _used_connections(layer: Any) -> set[Any]:
    used = {layer.context.client, layer.context.server, *layer.waiting_for_establishment}
    for stream in layer.streams.values():
        used.add(stream.context.server)
        if (flow := getattr(stream, "flow", None)) is not None:
            used.add(flow.server_conn)
    return used


def raise_file_limit() -> int:
    """Raise the process's limit of open files as far as it may without asking; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def report_exhaustion() -> None:
    """Have the log say in one line, now and then, that connections wait because there are no more files.

    asyncio reports each attempt, every second, with a traceback. Called on the running loop.
    """
    loop: Any = asyncio.get_running_loop()
    if hasattr(loop, "_llmproxy_reports"):
        return
    loop._llmproxy_reports = True
    previous, last = loop.get_exception_handler(), float("-inf")

    def handle(loop: Any, context: dict[str, Any]) -> None:
        nonlocal last
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            (previous or type(loop).default_exception_handler)(loop, context)
        elif time.monotonic() - last >= QUIET_SECONDS:
            last = time.monotonic()
            logger.error(
                "llmproxy: new connections wait: the limit of %d open files is reached; raise it "
                "(ulimit -n, or LimitNOFILE= of the service), or lower llm_client_connections.",
                resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            )

    loop.set_exception_handler(handle)

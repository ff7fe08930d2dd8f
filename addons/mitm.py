"""The internals of mitmproxy that we rely on, all of them.

Nothing here is public API of mitmproxy; ``tests/addons/test_mitm.py`` fails when a version changes it.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Callable, Generator, Iterator
from typing import Any

import wsproto.events
from mitmproxy import ctx, http, websocket
from mitmproxy.connection import Connection
from mitmproxy.net.http.status_codes import CLIENT_CLOSED_REQUEST
from mitmproxy.proxy import server
from mitmproxy.proxy.commands import RequestWakeup
from mitmproxy.proxy.events import Wakeup
from mitmproxy.proxy.layers.http import HttpStream, SendHttp, _events
from mitmproxy.proxy.layers.http._events import (
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
)
from mitmproxy.proxy.layers.websocket import WebsocketLayer, WebSocketMessageInjected
from mitmproxy.proxy.utils import ReceiveBuffer
from wsproto.frame_protocol import Opcode

CANCELLED: Any = _events.ErrorCode.CANCEL if hasattr(_events, "ErrorCode") else CLIENT_CLOSED_REQUEST
"""Why a stream ends; in mitmproxy 11 a status."""

Commands = Generator[Any, Any, None]
"""What a layer yields: commands, some of which are answered."""


class DiscardingBuffer(ReceiveBuffer):
    """Takes the place of a stream's request buffer and keeps nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __iadd__(self, other: bytes | bytearray | memoryview) -> DiscardingBuffer:
        return self


def discard_request_body(flow: http.HTTPFlow) -> bool:
    """Read the rest of `flow`'s request body without keeping it.

    mitmproxy reads a refused request to its end before it answers, and would hold the whole body in memory.
    Killing the flow instead loses the answer, and on Python >= 3.12 a file descriptor.

    Returns whether the stream was found (it is not for flows that do not come from a connection).
    """
    proxyserver = ctx.master.addons.get("proxyserver")
    handler = proxyserver and proxyserver.connections.get(flow.client_conn.id)
    if handler is None:
        return False
    for layer in _layers(handler.layer):
        if isinstance(layer, HttpStream) and getattr(layer, "flow", None) is flow:
            layer.request_body_buf = DiscardingBuffer()
            return True
    return False


def _layers(root: Any) -> Iterator[Any]:
    """Every protocol layer below `root`, each once."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        layer = todo.pop()
        if layer is None or id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        todo.append(getattr(layer, "layer", None))
        todo.append(getattr(layer, "child_layer", None))
        todo.append(getattr(getattr(layer, "_handle_event", None), "__self__", None))
        todo.extend(getattr(layer, "streams", {}).values())


def on_request_headers_sent(replace: Callable[[http.Request, Connection], http.Request]) -> None:
    """Call `replace` for each request head at the moment it is handed to its upstream connection.

    What `replace` returns is serialised in place of the flow's own request, which it must leave as it is.
    Installed once per process; a later call replaces the earlier function.
    """
    SendHttp._llmproxy_replace = staticmethod(replace)  # type: ignore[attr-defined]
    if getattr(SendHttp.__init__, "_llmproxy", False):
        return
    original = SendHttp.__init__

    def init(self: Any, event: Any, connection: Connection) -> None:
        if isinstance(event, RequestHeaders):
            event.request = SendHttp._llmproxy_replace(event.request, connection)  # type: ignore[attr-defined]
        original(self, event, connection)

    init._llmproxy = True  # type: ignore[attr-defined]
    SendHttp.__init__ = init  # type: ignore[method-assign]


def on_client_left(keep: Callable[[http.HTTPFlow], float | None]) -> None:
    """Ask `keep` when a client leaves a call that upstream is answering, or has still to answer.

    None: upstream is closed, as mitmproxy does. A number: the answer is read on for that many seconds at
    most, and its hooks run as if the client were there; nothing is sent to it. `keep` must not raise.
    Installed once per process; a later call replaces the earlier function.

    When the whole connection of the client has ended, mitmproxy closes the upstream connections too, once
    the hook ``client_disconnected`` has returned: who wants to read on has to wait there.
    """
    HttpStream._llmproxy_keep = staticmethod(keep)  # type: ignore[attr-defined]
    if getattr(HttpStream.handle_protocol_error, "_llmproxy", False):
        return
    original = HttpStream.handle_protocol_error

    def handle_protocol_error(self: Any, event: Any) -> Commands:
        seconds = None
        if isinstance(event, RequestProtocolError) and _awaits_answer(self):
            seconds = HttpStream._llmproxy_keep(self.flow)  # type: ignore[attr-defined]
        if seconds is None:
            yield from original(self, event)
        else:
            yield from _read_on(self, lambda: original(self, event), seconds)

    handle_protocol_error._llmproxy = True  # type: ignore[attr-defined]
    HttpStream.handle_protocol_error = handle_protocol_error  # type: ignore[method-assign]


def _awaits_answer(stream: Any) -> bool:
    """Whether the request is with upstream, whole, and the answer is not complete."""
    return stream.client_state == stream.state_done and stream.server_state in (
        stream.state_wait_for_response_headers,
        stream.state_stream_response_body,
    )


def _read_on(stream: Any, leave: Callable[[], Commands], seconds: float) -> Commands:
    """Go on with `stream` without its client; after `seconds`, let `leave` close it after all."""
    handle = stream._handle_event

    def without_client(commands: Commands) -> Commands:
        reply = None
        while True:
            try:
                command = commands.send(reply)
            except StopIteration:
                return
            to_client = isinstance(command, SendHttp) and command.connection is stream.context.client
            reply = None if to_client else (yield command)

    def read_on(event: Any) -> Commands:
        if not isinstance(event, Wakeup):
            yield from without_client(handle(event))
        elif _awaits_answer(stream):
            yield from without_client(leave())

    stream._handle_event = read_on
    yield RequestWakeup(seconds)


def end_answer(flow: http.HTTPFlow) -> None:
    """End the streamed answer of `flow` after the piece that passes now: the client gets a complete message,
    upstream is cut off, and the hook ``response`` follows. Only from within the answer's stream callable.
    """
    _ending.add(flow.id)


_ending: set[str] = set()
"""Ids of flows."""


def allow_end_of_answers() -> None:
    """Have :func:`end_answer` work. Installed once per process."""
    original = HttpStream.state_stream_response_body
    if getattr(original, "_llmproxy", False):
        return

    def state_stream_response_body(self: Any, event: Any) -> Commands:
        yield from original(self, event)
        if self.flow.id in _ending and isinstance(event, ResponseData):
            _ending.discard(self.flow.id)
            upstream = RequestProtocolError(self.stream_id, "Ended by the proxy.", CANCELLED)
            yield SendHttp(upstream, self.context.server)
            yield from original(self, ResponseEndOfMessage(self.stream_id))

    state_stream_response_body._llmproxy = True  # type: ignore[attr-defined]
    HttpStream.state_stream_response_body = state_stream_response_body  # type: ignore[method-assign]


class _Closing(websocket.WebSocketMessage):
    """An empty injected message; reading its content puts a Close before it in the layer's queue.

    There it is between two events. A Close that is put there at any other time makes the layer fail on a
    message that it is just relaying.
    """

    def __init__(self, layer: WebsocketLayer, code: int, reason: str) -> None:
        self._close: tuple[WebsocketLayer, int, str] | None = None
        super().__init__(Opcode.TEXT, False, b"", injected=True)
        self._close = (layer, code, reason)

    @property
    def content(self) -> bytes:
        if self._close is not None:
            (layer, code, reason), self._close = self._close, None
            # Of this property's two readers the layer comes first: it has to, to relay the message.
            layer.server_ws._events.append(wsproto.events.CloseConnection(code, reason))
        return b""

    @content.setter
    def content(self, value: bytes) -> None:
        pass


def send_to_client(flow: http.HTTPFlow, text: str) -> None:
    """Send a message of our own over the WebSocket of `flow`; the hook sees it as injected by the server."""
    message = websocket.WebSocketMessage(Opcode.TEXT, False, text.encode(), injected=True)
    _inject(flow, message)


def end_websocket(flow: http.HTTPFlow, code: int, reason: str) -> bool:
    """Close the WebSocket of `flow` on both sides, with a code and a reason of at most 123 bytes (RFC 6455).

    Comes after what :func:`send_to_client` was given before. Then the hook sees an empty injected message,
    which it has to drop. Returns whether the WebSocket was found; it is not once it has ended.
    (``flow.kill`` does not close WebSockets.)
    """
    proxyserver = ctx.master.addons.get("proxyserver")
    handler = proxyserver and proxyserver.connections.get(flow.client_conn.id)
    for layer in _layers(handler.layer) if handler is not None else ():
        if isinstance(layer, WebsocketLayer) and layer.flow is flow:
            return _inject(flow, _Closing(layer, code, reason))
    return False


def _inject(flow: http.HTTPFlow, message: websocket.WebSocketMessage) -> bool:
    proxyserver = ctx.master.addons.get("proxyserver")
    if proxyserver is None or flow.client_conn.id not in proxyserver.connections:
        return False
    proxyserver.inject_event(WebSocketMessageInjected(flow, message))
    return True


def inactivity_timeout() -> float:
    """Seconds without traffic after which mitmproxy closes a connection (an option from 12.2.1 on)."""
    return float(getattr(ctx.options, "tcp_timeout", getattr(server, "TCP_TIMEOUT", 600)))


def listeners() -> dict[str, str]:
    """The listening addresses of this process, ``HOST:PORT`` by the kind of their mode; the first of each."""
    proxyserver = ctx.master.addons.get("proxyserver")
    found: dict[str, str] = {}
    for instance in list(proxyserver.servers) if proxyserver else ():
        for host, port, *_ in instance.listen_addrs:
            found.setdefault(instance.mode.type_name, f"{host}:{port}")
    return found


def end_plainly_after_a_refused_start() -> None:
    """See to it that a process that refuses to start ends with 1, as mitmproxy means it to.

    Listeners are open by then. The Rust thread of a UDP listener (HTTP/3) may ask for the interpreter while
    that is taken down, and crash (exit code 139; seen on Python 3.11 and 3.13); so it is not taken down.
    """
    if type(ctx.master).__module__.startswith("mitmproxy.tools."):
        atexit.register(_end)


def _end() -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)

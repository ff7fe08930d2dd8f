"""What clients send is bounded; and probes of what that relies on in mitmproxy."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import wsproto
from mitmproxy import options
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.layers.http import HttpStream
from mitmproxy.proxy.layers.http._hooks import HttpRequestHeadersHook
from mitmproxy.proxy.layers.http._http1 import Http1Server
from mitmproxy.proxy.layers.websocket import WebsocketConnection, WebsocketLayer
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.proxy.server import LiveConnectionHandler
from mitmproxy.test import tflow
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, TextMessage

from addons.mitm import bounds as mitm_bounds


@pytest.fixture
def server() -> Http1Server:
    """The HTTP/1 side of mitmproxy that faces a client, with heads of at most 100 bytes."""
    mitm_bounds.bound_request_heads(100, b"{}")
    server = Http1Server(context.Context(tflow.tclient_conn(), options.Options()))
    list(server.handle_event(events.Start()))
    return server


def given(server: Http1Server, data: bytes) -> list[Any]:
    return list(server.handle_event(events.DataReceived(server.conn, data)))


def refused(said: Iterable[Any]) -> bool:
    said = list(said)
    sent = b"".join(command.data for command in said if isinstance(command, commands.SendData))
    return sent.startswith(b"HTTP/1.1 431 ") and isinstance(said[-1], commands.CloseConnection)


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n", b"\n\n"])
def test_a_head_that_is_too_long(server: Http1Server, end: bytes) -> None:
    assert refused(given(server, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100 + end))
    assert given(server, b"x" * 1000) == []
    assert len(server.buf) <= 1000
    assert server.conn not in mitm_bounds.head_began


def test_a_head_without_end_in_small_pieces(server: Http1Server) -> None:
    said: list[Any] = []
    for _ in range(20):
        said += given(server, b"X: xxxxx\r\n")
    assert refused(said)


def test_a_short_head_with_a_long_body(server: Http1Server) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n"
    assert not refused(given(server, head + b"x" * 500))


def test_the_time_of_a_head_counts_from_its_first_piece(server: Http1Server) -> None:
    assert server.conn not in mitm_bounds.head_began
    given(server, b"GET / HT")
    began = mitm_bounds.head_began[server.conn]
    given(server, b"TP/1.1\r\n")
    assert mitm_bounds.head_began[server.conn] == began
    given(server, b"Host: a\r\n\r\n")
    assert server.conn not in mitm_bounds.head_began


def test_what_is_sent_ahead_of_an_answer_is_bounded(server: Http1Server) -> None:
    given(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not any(isinstance(said, commands.CloseConnection) for said in given(server, b"x" * 100))
    assert any(isinstance(said, commands.CloseConnection) for said in given(server, b"x" * 200))


def test_heads_are_read_where_they_are_bounded() -> None:
    source = inspect.getsource(Http1Server)
    assert "self.state = self.read_body" in source
    assert "self.buf += event.data" in inspect.getsource(Http1Server.__mro__[1])
    assert "self.state = self.read_headers" in inspect.getsource(Http1Server.__mro__[1])


def test_a_body_beyond_its_bound_is_not_kept() -> None:
    buffer: Any = mitm_bounds.BoundedBuffer(10)
    buffer += b"x" * 10
    assert (bytes(buffer), buffer.exceeded) == (b"x" * 10, False)
    buffer += b"x"
    buffer += b"x" * 5
    assert (bytes(buffer), buffer.exceeded) == (b"", True)
    assert "self.request_body_buf += event.data" in inspect.getsource(HttpStream)


def websocket(limit: int, facing: ConnectionType = ConnectionType.SERVER) -> WebsocketConnection:
    """The side of a relay that faces its client, or the one that faces upstream."""
    mitm_bounds.bound_websocket_messages(limit)
    return WebsocketConnection(facing, [], conn=tflow.tclient_conn())


def received(ws: WebsocketConnection, *sent: Message) -> list[Any]:
    """The events of `ws`, relayed as :class:`WebsocketLayer` does."""
    peer = wsproto.Connection(ConnectionType.SERVER if ws.client else ConnectionType.CLIENT)
    found = []
    for message in sent:
        ws.receive_data(peer.send(message))
        for event in ws.events():
            found.append(event)
            if isinstance(event, Message):
                data = event.data
                ws.frame_buf[-1] += data.encode() if isinstance(data, str) else bytes(data)
                if event.message_finished:
                    ws.frame_buf = [b""]
                elif event.frame_finished:
                    ws.frame_buf.append(b"")
    return found


def test_messages_within_the_bound() -> None:
    sent = [TextMessage("x" * 50, message_finished=False), TextMessage("x" * 50), BytesMessage(b"x" * 100)]
    found = received(websocket(100), *sent)
    assert not any(isinstance(event, CloseConnection) for event in found)


@pytest.mark.parametrize(
    "sent",
    [
        [TextMessage("x" * 101)],
        [TextMessage("x" * 20, message_finished=False)] * 6,
        [BytesMessage(b"x" * 60, message_finished=False)] * 2,
        [TextMessage("x", message_finished=False)] * 101,
    ],
)
def test_a_message_without_end_ends_the_session(sent: list[Message]) -> None:
    ws = websocket(100)
    [end] = [event for event in received(ws, *sent) if isinstance(event, CloseConnection)][:1]
    assert end.code == 1009
    assert sum(map(len, ws.frame_buf)) <= 100


def test_messages_of_upstream_may_be_longer() -> None:
    found = received(websocket(100, ConnectionType.CLIENT), TextMessage("x" * 1000))
    assert not any(isinstance(event, CloseConnection) for event in found)


def test_messages_are_relayed_from_where_they_are_bounded() -> None:
    source = inspect.getsource(WebsocketLayer.relay_messages)
    assert "for ws_event in src_ws.events():" in source
    assert "isinstance(ws_event, wsproto.events.CloseConnection)" in source
    assert "src_ws.frame_buf[-1] += ws_event.data" in source


class _Writer:
    """A client that reads nothing and never leaves."""

    transport = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def is_closing(self) -> bool:
        return False

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Asking(Layer):
    """Asks a hook about the first piece that it gets."""

    def _handle_event(self, event: events.Event) -> Iterator[commands.Command]:
        if isinstance(event, events.DataReceived):
            self._handle_event = self.done  # type: ignore[method-assign]
            yield HttpRequestHeadersHook(tflow.tflow())

    def done(self, event: events.Event) -> Iterator[commands.Command]:
        yield from ()


class _Handler(LiveConnectionHandler):
    """A connection whose check waits for `go_on`."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def handle_hook(self, hook: commands.StartHook) -> None:
        if isinstance(hook, HttpRequestHeadersHook):
            self.asked.set()
            await self.go_on.wait()


async def test_a_client_is_not_read_while_its_check_waits_for_something() -> None:
    mitm_bounds.bound_what_waits_for_hooks(2**20)
    given = options.Options()
    if "tcp_timeout" not in given:
        given.add_option("tcp_timeout", int, 600, "")
    reader = asyncio.StreamReader()
    handler = _Handler(reader, _Writer(), given, ProxyMode.parse("regular"))
    handler.layer = _Asking(Context(handler.client, given))
    serving = asyncio.create_task(handler.handle_client())
    reader.feed_data(b"x")
    await asyncio.wait_for(handler.asked.wait(), 10)
    for _ in range(100):
        reader.feed_data(b"x" * 65535)
    for _ in range(1000):
        await asyncio.sleep(0)
    left = len(reader._buffer)  # type: ignore[attr-defined]
    assert 80 * 65535 < left < 100 * 65535, "the rest waits in the network"
    handler.go_on.set()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not reader._buffer  # type: ignore[attr-defined]
    await handler.on_timeout()
    await asyncio.wait_for(serving, 10)

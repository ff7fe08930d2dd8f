"""Bodies pass as through mitmproxy's own layers, in fewer steps; and probes of what that relies on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import h11
import pytest
from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode
from mitmproxy.proxy.layers.http._http1 import Http1Connection
from mitmproxy.test import taddons, tflow

from addons.mitm import internals as mitm
from addons.mitm import relay

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[]}\n\n'
Stream = Callable[[bytes], bytes | Sequence[bytes]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture(autouse=True)
def relayed() -> None:
    mitm.allow_end_of_answers()
    mitm.drop_trailers()
    assert relay.install()


def test_these_layers_are_known() -> None:
    """If not: read what changed in what `REPLACED` names, then add the new ones to KNOWN."""
    assert relay.fingerprint() in relay.KNOWN


def test_an_unknown_mitmproxy_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = Http1Connection.read_body.__wrapped__  # type: ignore[attr-defined]
    monkeypatch.setattr(Http1Connection, "read_body", original)
    monkeypatch.setattr(relay, "KNOWN", frozenset())
    with caplog.at_level("INFO"):
        assert not relay.install()
    assert Http1Connection.read_body is original
    assert "left as it is" in caplog.text


class Exchange:
    """Takes one call through mitmproxy's HTTP layer, and notes what comes out."""

    def __init__(self, stream: Stream | bool) -> None:
        self.stream = stream
        self.pieces: list[bytes] = []
        """What the flow's stream got."""
        self.sent: dict[bool, bytes] = {True: b"", False: b""}
        """What the client got (True), and the server."""
        self.writes = 0
        self.told: list[str] = []
        """Hooks, and closed connections, in order."""
        with taddons.context(Proxyserver()) as context:
            self.context = Context(tflow.tclient_conn(), context.options)
        self.context.server.address = ("127.0.0.1", 80)
        self.layer = HttpLayer(self.context, HTTPMode.transparent)
        self.flow: http.HTTPFlow | None = None
        self.handle(events.Start())

    def handle(self, event: events.Event) -> None:
        todo: deque[events.Event] = deque([event])
        while todo:
            for command in self.layer.handle_event(todo.popleft()):
                if isinstance(command, commands.SendData):
                    self.sent[command.connection is self.context.client] += command.data
                    self.writes += command.connection is self.context.client
                elif isinstance(command, commands.OpenConnection):
                    command.connection.state = ConnectionState.OPEN
                    self.server = command.connection
                    todo.append(events.OpenConnectionCompleted(command, None))
                elif isinstance(command, commands.StartHook):
                    self.hook(command)
                    if command.blocking:
                        todo.append(events.HookCompleted(command))
                elif isinstance(command, commands.CloseConnection):
                    command.connection.state = ConnectionState.CLOSED
                    self.told.append(f"close {'client' if command.connection is self.context.client else ''}")

    def hook(self, command: commands.StartHook) -> None:
        self.told.append(command.name)
        if command.name == "requestheaders":
            (self.flow,) = command.args()
        if command.name == "responseheaders":
            assert self.flow is not None
            assert self.flow.response is not None
            self.flow.response.stream = self.noted if callable(self.stream) else self.stream

    def noted(self, data: bytes) -> bytes | Sequence[bytes]:
        assert callable(self.stream)
        self.pieces.append(data)
        return self.stream(data)

    def ask(self) -> None:
        self.handle(events.DataReceived(self.context.client, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"))

    def answer(self, data: bytes) -> None:
        self.handle(events.DataReceived(self.server, data))

    def hang_up(self) -> None:
        self.server.state &= ~ConnectionState.CAN_READ
        self.handle(events.ConnectionClosed(self.server))


def body_of(sent: bytes) -> bytes:
    """Read a client's answer, as far as it came."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(sent)
    found = b""
    while isinstance(event := client.next_event(), (h11.Response, h11.Data, h11.EndOfMessage)):
        found += bytes(event.data) if isinstance(event, h11.Data) else b""
        if isinstance(event, h11.EndOfMessage):
            return found + b"<end>"
    return found


BODIES = {
    "chunks": HEAD + chunk(EVENT) * 5 + b"0\r\n\r\n",
    "a chunk of a kilobyte": HEAD + chunk(b"x" * 1024) + b"0\r\n\r\n",
    "in capitals, with an extension": HEAD + b"1A;name=value\r\n%b\r\n0\r\n\r\n" % (b"y" * 26),
    "with trailers": HEAD + chunk(EVENT) + b"0\r\nx-sum: 1\r\n\r\n",
    "cut off": HEAD + chunk(EVENT) + b"20\r\nabc",
    "no number": HEAD + chunk(EVENT) + b"zz\r\nabc\r\n0\r\n\r\n",
    "a negative number": HEAD + chunk(EVENT) + b"-5\r\nabc\r\n0\r\n\r\n",
    "too long a chunk": HEAD + chunk(EVENT) + b"3\r\nabcdef\r\n" + chunk(EVENT) + b"0\r\n\r\n",
    "with a length": b"HTTP/1.1 200 OK\r\ncontent-length: 44\r\n\r\n" + EVENT * 2,
    "to the end": b"HTTP/1.0 200 OK\r\n\r\n" + EVENT * 2,
    "nothing": HEAD + b"0\r\n\r\n",
}
STREAMS: dict[str, Stream | bool] = {
    "as it is": lambda data: data,
    "in halves": lambda data: [half for half in (data[:1], data[1:]) if half],
    "all of it at the end": lambda data: [b"end"] if not data else [],
    "without a function": True,
    "held whole": False,
}


def gone_through(data: bytes, step: int, stream: Stream | bool) -> Exchange:
    found = Exchange(stream)
    found.ask()
    for at in range(0, len(data), step):
        found.answer(data[at : at + step])
        if "close " in found.told:
            return found
    found.hang_up()
    return found


@pytest.mark.parametrize("step", [1, 2, 3, 7, 30, 10_000])
@pytest.mark.parametrize("body", BODIES)
def test_the_same_bytes_come_out(body: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = both_ways(BODIES[body], step, STREAMS["as it is"], monkeypatch)
    assert seen(ours) == seen(theirs)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("body", ["chunks", "cut off", "with a length"])
def test_whatever_the_flow_makes_of_them(body: str, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = both_ways(BODIES[body], 30, STREAMS[stream], monkeypatch)
    assert seen(ours) == seen(theirs)


def both_ways(
    body: bytes, step: int, stream: Stream | bool, monkeypatch: pytest.MonkeyPatch
) -> tuple[Exchange, Exchange]:
    """Take an answer through our layers and through mitmproxy's own."""
    ours = gone_through(body, step, stream)
    monkeypatch.setattr(Http1Connection, "read_body", Http1Connection.read_body.__wrapped__)  # type: ignore[attr-defined]
    return ours, gone_through(body, step, stream)


def seen(exchange: Exchange) -> tuple[object, ...]:
    """All that the client, the upstream and the flow get of it, however it is cut into pieces."""
    client, upstream = exchange.sent[True], exchange.sent[False]
    return exchange.told, body_of(client), b"".join(exchange.pieces), upstream


def test_chunks_of_one_read_are_one_piece() -> None:
    call = Exchange(lambda data: data)
    call.ask()
    call.answer(HEAD)
    writes = call.writes
    begun, rest = chunk(EVENT)[:6], chunk(EVENT)[6:]
    call.answer(chunk(EVENT) * 100 + begun)
    assert call.pieces == [EVENT * 100 + EVENT[:2]]
    assert call.writes == writes + 1
    call.answer(rest + chunk(EVENT) * 2)
    assert call.pieces[1:] == [EVENT[2:] + EVENT * 2]


def uploads() -> Iterator[bytes]:
    yield b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    yield chunk(EVENT) * 3
    yield chunk(EVENT) + b"0\r\n\r\n"


def test_a_request_comes_whole() -> None:
    call = Exchange(stream=True)
    for piece in uploads():
        call.handle(events.DataReceived(call.context.client, piece))
    assert call.flow is not None
    assert call.flow.request.content == EVENT * 4


def test_an_answer_that_is_ended_by_the_proxy() -> None:
    def stream(data: bytes) -> bytes:
        assert call.flow is not None
        if len(call.pieces) == 2:
            mitm.end_answer(call.flow)
        return data

    call = Exchange(stream)
    call.ask()
    call.answer(HEAD + chunk(EVENT))
    call.answer(chunk(EVENT))
    call.answer(chunk(EVENT))
    assert body_of(call.sent[True]) == EVENT * 2 + b"<end>"
    assert call.told[-2:] == ["close ", "response"]
    assert len(call.pieces) == 3, "the third is the end"


def test_an_empty_piece_ends_nothing() -> None:
    call = Exchange(lambda data: b"" if data == b"drop" else data)
    call.ask()
    call.answer(HEAD + chunk(EVENT))
    call.answer(chunk(b"drop"))
    call.answer(chunk(EVENT) + b"0\r\n\r\n")
    assert body_of(call.sent[True]) == EVENT * 2 + b"<end>"

"""Probes of what addons/mitm/internals.py relies on: red when a new mitmproxy changes it.

The live tests show that they work; these say at once which of them broke.
"""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import h11
import pytest
from mitmproxy import http, options
from mitmproxy.addons import proxyserver
from mitmproxy.proxy import layer, server
from mitmproxy.proxy.layers import http as http_layers
from mitmproxy.proxy.layers.http import _events
from mitmproxy.proxy.layers.http import _http1 as http1
from mitmproxy.proxy.layers.websocket import WebsocketLayer
from mitmproxy.proxy.utils import ReceiveBuffer
from mitmproxy.test import taddons, tflow
from mitmproxy.tools import main

from addons.mitm import internals as mitm


def test_stream_keeps_its_request_body_in_a_receive_buffer() -> None:
    source = inspect.getsource(http_layers.HttpStream)
    assert "self.request_body_buf = ReceiveBuffer()" in source
    assert "self.request_body_buf += event.data" in source
    assert "flow" in http_layers.HttpStream.__annotations__


def test_layers_lead_from_the_connection_to_the_stream() -> None:
    assert "streams" in http_layers.HttpLayer.__annotations__
    assert "self.layer" in inspect.getsource(layer.NextLayer)
    assert "child_layer" in inspect.getsource(http_layers.HttpStream)
    assert "connections" in inspect.getsource(proxyserver.Proxyserver.__init__)
    assert "layer" in inspect.getsource(server.ConnectionHandler.__init__)


def test_request_heads_pass_through_send_http() -> None:
    assert list(inspect.signature(http_layers.SendHttp.__init__).parameters) == [
        "self",
        "event",
        "connection",
    ]
    source = inspect.getsource(http_layers)
    assert "yield SendHttp(\n" in source or "yield SendHttp(RequestHeaders" in source


def test_discarding_buffer_keeps_nothing() -> None:
    buffer: ReceiveBuffer = mitm.DiscardingBuffer()
    buffer += b"x" * 1000
    assert len(buffer) == 0
    assert bytes(buffer) == b""


def test_flow_without_a_connection_has_no_body_to_discard() -> None:
    with taddons.context():
        assert mitm.discard_request_body(tflow.tflow()) is False


def test_streams_hear_of_clients_that_leave() -> None:
    """What :func:`mitm.on_client_left` replaces, and the states that it looks at."""
    mitm.on_client_left(lambda flow: None)
    assert getattr(http_layers.HttpStream.handle_protocol_error, "_llmproxy", False)
    source = inspect.getsource(http_layers.HttpStream)
    assert "yield from self.handle_protocol_error(event)" in source
    for state in ("state_done", "state_wait_for_response_headers", "state_stream_response_body"):
        assert hasattr(http_layers.HttpStream, state)
    handled = inspect.getsource(layer.Layer.handle_event)
    assert "self._handle_event(event)" in handled, "looked up anew for each event"
    assert "RequestWakeup" in inspect.getsource(http_layers.HttpLayer.event_to_child)
    assert "await self.handle_hook(server_hooks.ClientDisconnectedHook" in inspect.getsource(
        server.ConnectionHandler.handle_client
    ), "upstream connections outlive their client until this hook has returned"


def test_failures_of_upstream_are_answered_in_mitmproxys_place() -> None:
    """What :func:`mitm.on_upstream_failed` and :func:`mitm.give_up` rely on."""
    mitm.on_upstream_failed(lambda *_: None)
    mitm.on_client_left(lambda _: None)
    replaced = http_layers.HttpStream.handle_protocol_error
    mitm.on_upstream_failed(lambda *_: None)
    mitm.on_client_left(lambda _: None)
    assert http_layers.HttpStream.handle_protocol_error is replaced, "each is installed once"
    source = inspect.getsource(inspect.unwrap(replaced))
    assert "yield SendHttp(event, self.context.client)" in source
    assert source.index("yield HttpErrorHook(self.flow)") < source.index(
        "SendHttp(event, self.context.client)"
    )
    assert "yield from self.handle_protocol_error(" in inspect.getsource(
        http_layers.HttpStream.make_server_connection
    )
    routing = inspect.getsource(http_layers.HttpLayer)
    assert "self.command_sources.pop(event.command)" in routing
    assert "self.command_sources[command] = child" in routing
    assert "_paused" in layer.Layer.__annotations__
    opening = inspect.getsource(server.ConnectionHandler.open_connection)
    assert 'err = "connection cancelled"' in opening, "so ends a connection that is being made"
    assert "self.timeout - (time.time() - self.last_activity)" in inspect.getsource(
        server.TimeoutWatchdog.watch
    ), "its time may grow while it waits"


def test_trailers_of_http1_bodies_are_dropped() -> None:
    """What :func:`mitm.drop_trailers` replaces: a name that both sides look up, and `send` of both."""
    assert "self.body_reader = make_body_reader(" in inspect.getsource(http1.Http1Server.read_headers)
    assert "self.body_reader = make_body_reader(" in inspect.getsource(http1.Http1Client.read_headers)
    mitm.drop_trailers()
    reader = http1.make_body_reader(None)
    buffer = http1.ReceiveBuffer()
    buffer += b"2\r\nhi\r\n0\r\nx-checksum: 1\r\n\r\n"
    assert [reader(buffer).data, reader(buffer)] == [b"hi", h11.EndOfMessage()]
    assert isinstance(http1.make_body_reader(2), h11._readers.ContentLengthReader)
    for side, event in ((http1.Http1Server, "ResponseTrailers"), (http1.Http1Client, "RequestTrailers")):
        trailers = getattr(_events, event)(1, http.Headers())
        assert list(side.send(object(), trailers)) == []  # type: ignore[arg-type]


def test_a_connection_on_which_mitmproxy_fails_is_closed() -> None:
    """What :func:`mitm.end_crashed_connections` looks for: that the failure is logged, and so."""
    assert f'self.log(f"{mitm.CRASHED}"' in inspect.getsource(server.ConnectionHandler.server_event)
    mitm.end_crashed_connections()
    closed = []
    writer = SimpleNamespace(close=lambda: closed.append(True))
    client = tflow.tflow().client_conn
    handler = SimpleNamespace(client=client, transports={client: SimpleNamespace(writer=writer)})
    server.ConnectionHandler.log(handler, "client connect")  # type: ignore[arg-type]
    assert closed == []
    server.ConnectionHandler.log(handler, mitm.CRASHED)  # type: ignore[arg-type]
    assert closed == [True]


def test_inactivity_timeout_is_known() -> None:
    with taddons.context():
        assert mitm.inactivity_timeout() == pytest.approx(600)
    has_option = "tcp_timeout" in options.Options().keys()  # noqa: SIM118 - not a mapping
    assert has_option or server.TCP_TIMEOUT > 0


def test_websockets_can_be_ended_between_two_messages() -> None:
    """What :func:`mitm.end_websocket` relies on; that it works is shown in tests/live/test_realtime.py."""
    source = inspect.getsource(WebsocketLayer.relay_messages)
    read = source.index("src_ws._events.extend(fragmentizer(event.message.content))")
    assert read < source.index("for ws_event in src_ws.events():"), (
        "what reading the content added comes first"
    )
    assert "self.flow.websocket.close_code = ws_event.code" in source
    assert "flow" in WebsocketLayer.__annotations__
    assert "create_task" in inspect.getsource(proxyserver.Proxyserver.inject_event), (
        "in order, and not at once"
    )
    with taddons.context():
        assert mitm.end_websocket(tflow.twebsocketflow(), 1008, "no") is False


def test_answers_may_be_ended_while_they_are_streamed() -> None:
    """What :func:`mitm.end_answer` relies on."""
    source = inspect.getsource(http_layers.HttpStream.state_stream_response_body)
    assert "self.flow.response.stream(" in source or getattr(
        http_layers.HttpStream.state_stream_response_body, "_llmproxy", False
    )
    assert "send_response(already_streamed=True)" in inspect.getsource(http_layers)


def test_the_process_may_stop_listening_and_wait() -> None:
    """What :mod:`addons.hooks.shutdown` relies on."""
    configure = inspect.getsource(proxyserver.Proxyserver.configure)
    assert '"server" in updated' in configure, "the option stops the listeners"
    assert "add_signal_handler(signal.SIGTERM" in inspect.getsource(main.run), "a later handler replaces it"
    with taddons.context():
        assert mitm.unsent_bytes() == 0

"""Probes of the connections of mitmproxy that are closed, forgotten, or answered early."""

from __future__ import annotations

import asyncio
import errno
import inspect
import logging
import resource

import pytest
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.options import Options
from mitmproxy.proxy import server
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.events import ConnectionClosed, DataReceived
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode, HttpStream
from mitmproxy.test import tflow

from addons.mitm import connections as mitm_connections


def test_connections_are_reset_through_their_writers() -> None:
    source = inspect.getsource(server.ConnectionHandler)
    assert "self.transports[connection].writer" in source
    assert "self.timeout_watchdog.register_activity()" in source
    assert "data = await reader.read(" in source, "which ends when the connection is reset"


def test_an_upstream_connection_that_has_ended_is_forgotten() -> None:
    mitm_connections.forget_closed_connections()
    layer = HttpLayer(Context(tflow.tclient_conn(), Options()), HTTPMode.transparent)
    ended, used, open_one = (Server(address=("api.openai.com", 443)) for _ in range(3))
    for connection in (ended, used, open_one):
        layer.connections[connection] = _Quiet()  # type: ignore[assignment]
    open_one.state = ConnectionState.OPEN
    stream = HttpStream(layer.context.fork(), 1)
    stream.flow = tflow.tflow()
    stream.flow.server_conn = used
    layer.streams[1] = stream
    list(layer.handle_event(ConnectionClosed(used)))
    list(layer.handle_event(ConnectionClosed(ended)))
    assert set(layer.connections) == {used, open_one}
    layer.streams.clear()
    another = Server(address=("api.openai.com", 443))
    layer.connections[another] = _Quiet()  # type: ignore[assignment]
    list(layer.handle_event(ConnectionClosed(another)))
    assert set(layer.connections) == {open_one}


@pytest.mark.parametrize("state", [ConnectionState.CLOSED, ConnectionState.OPEN])
def test_a_connection_that_is_being_opened_or_closed_is_not_forgotten(state: ConnectionState) -> None:
    """Its state says closed, but more of it is to come: an event, for which the layer has to know it."""
    mitm_connections.forget_closed_connections()
    layer = HttpLayer(Context(tflow.tclient_conn(), Options()), HTTPMode.transparent)
    ended, other = (Server(address=("api.openai.com", 443)) for _ in range(2))
    for connection in (ended, other):
        layer.connections[connection] = _Quiet()  # type: ignore[assignment]
    list(layer.handle_event(ConnectionClosed(ended)))
    assert set(layer.connections) == {other}
    other.state = state
    list(layer.handle_event(DataReceived(other, b"")))
    other.state = ConnectionState.CLOSED
    list(layer.handle_event(ConnectionClosed(other)))
    assert set(layer.connections) == set()


class _Quiet:
    def handle_event(self, event: object) -> list[object]:
        return []


def test_requests_are_answered_before_their_bodies_where_mitmproxy_asks_for_them() -> None:
    """What :func:`mitm_connections.answer_before_the_body` relies on; tests/live/test_bounds.py shows it."""
    source = inspect.getsource(HttpStream)
    hook = source.index("yield HttpRequestHeadersHook(self.flow)\n        if")
    assert hook < source.index("Response.make(100)")
    assert "self.client_state = self.state_consume_request_body" in source
    assert "self.client_state = self.state_wait_for_request_headers" in source


async def test_the_log_says_once_that_there_are_no_more_files(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    mitm_connections.report_exhaustion()
    loop = asyncio.get_running_loop()
    for _ in range(3):
        error = OSError(errno.EMFILE, "Too many open files")
        loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": error})
    assert "LimitNOFILE" in caplog.messages[0]
    assert len(caplog.messages) == 1
    loop.call_exception_handler({"message": "something else"})
    assert "something else" in caplog.messages[-1]


def test_the_limit_of_open_files_is_raised_as_far_as_it_may() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        raised = mitm_connections.raise_file_limit()
        assert (
            raised == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, mitm_connections.MOST_FILES)
        )
        assert mitm_connections.raise_file_limit() == raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

"""Pass bodies on in fewer steps than mitmproxy's layers take.

mitmproxy takes each chunk of a chunked body through some twenty generators, however many of them one read has
brought. Here all that one read has brought is one piece; and a piece of an answer that streams to a client of
HTTP/1 is given to the flow's `stream` and sent where it is read. What comes to the client, and when, is the
same: mitmproxy, too, sends the chunks of one read in one step.

This relies on how mitmproxy's layers are written; :func:`install` steps aside where that is not as it was
when this was written. ``tests/addons/mitm/test_relay.py`` fails when a version changes them.
"""

from __future__ import annotations

import functools
import logging
import re
from typing import Any

import h11
from h11._readers import ChunkedReader
from mitmproxy.proxy.commands import SendData
from mitmproxy.proxy.events import DataReceived
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Connection, Http1Server

from addons.mitm import internals as mitm
from addons.mitm.hook_dispatch import digest

logger = logging.getLogger(__name__)

REPLACED = (
    Http1Connection.read_body,
    Http1Connection._handle_event,
    Http1Server.send,
    HttpStream._handle_event,
    HttpStream.state_stream_response_body,
    HttpLayer.event_to_child,
    Layer.handle_event,
    ChunkedReader,
)
"""It is what is repeated, or left out, here; as it was before anything was replaced."""
KNOWN = frozenset({"fcbcdb0e", "565a1e2c", "e249f8db"})
"""Fingerprints of that: mitmproxy 11.0.2 with h11 0.14; 11.1, and 12.0 to 12.3, with h11 0.16."""
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
"""The head of a chunk as nearly all servers write it; all others are left to h11."""


def fingerprint() -> str:
    """Digest the text of what is replaced."""
    return digest(REPLACED)


def install() -> bool:
    """Have bodies passed on so; say so, and change nothing, where mitmproxy is unknown. Once per process."""
    original: Any = Http1Connection.read_body
    if getattr(original, "_llmproxy", False):
        return True
    try:
        found = fingerprint()
    except OSError as error:  # no source
        found = repr(error)
    if found not in KNOWN:
        logger.info(
            "llmproxy: this mitmproxy passes bodies on in a way that is not known (%s); left as it is.", found
        )
        return False

    @functools.wraps(original)
    def read_body(self: Any, event: Any) -> mitm.Commands:
        if not isinstance(event, DataReceived):
            yield from original(self, event)
            return
        data, told = _read(self.body_reader, self.buf)
        if data:
            yield from _pass_on(self, data)
        if told is not None:
            self.body_reader = told
            yield from original(self, event)

    read_body._llmproxy = True  # type: ignore[attr-defined]
    Http1Connection.read_body = read_body  # type: ignore[method-assign]
    return True


class _Told:
    """Takes the place of a body's reader that has found the end, or an error, to tell it once more."""

    def __init__(self, end: h11.EndOfMessage | None, error: h11.ProtocolError | None) -> None:
        self._end, self._error = end, error

    def __call__(self, _: Any) -> h11.EndOfMessage | None:
        if self._error is not None:
            raise self._error
        return self._end


def _read(reader: Any, buffer: Any) -> tuple[bytes, _Told | None]:
    """Take what `buffer` holds of a body, and what came after that: its end, or an error."""
    pieces: list[bytes] = []
    chunked = isinstance(reader, ChunkedReader)
    while True:
        if chunked:
            take_chunks(reader, buffer, pieces)
        try:
            found = reader(buffer)
        except h11.ProtocolError as error:
            return b"".join(pieces), _Told(None, error)
        if not isinstance(found, h11.Data):
            told = None if found is None else _Told(found, None)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces), told
        pieces.append(bytes(found.data))


def take_chunks(reader: Any, buffer: Any, pieces: list[bytes]) -> None:
    """Take the whole chunks at the start of `buffer`; the last one, of length 0, and all others are left."""
    data = buffer._data
    at = 0
    if (due := reader._bytes_to_discard) and due in (b"\r\n", 2) and data[:2] == b"\r\n":
        reader._bytes_to_discard = type(due)()
        at = 2
    if not (reader._bytes_to_discard or reader._bytes_in_chunk or reader._reading_trailer):
        while head := CHUNK.match(data, at):
            start = head.end()
            end = start + int(head[1], 16)
            if start == end or data[end : end + 2] != b"\r\n":
                break
            pieces.append(bytes(data[start:end]))
            at = end + 2
    if at:
        buffer._extract(at)


def _pass_on(connection: Any, data: bytes) -> mitm.Commands:
    """Send a piece of a body to the other side, through the flow's `stream` if it is an answer."""
    stream = _stream(connection)
    client = stream and _client(connection, stream)
    if client is None:
        yield ReceiveHttp(connection.ReceiveData(connection.stream_id, data))
        return
    flow = stream.flow
    passed = flow.response.stream(data) if callable(flow.response.stream) else data
    framed = _is_chunked(client)
    for piece in (passed,) if isinstance(passed, bytes) else passed:
        if piece:
            yield SendData(client.conn, b"%x\r\n%b\r\n" % (len(piece), piece) if framed else piece)
    if mitm.is_ending(flow):
        yield ReceiveHttp(mitm.EndOfAnswer(connection.stream_id, b""))


def _stream(connection: Any) -> Any:
    """Give the stream whose answer is read there and passes as it comes; None where its layer must see it."""
    if not isinstance(connection, Http1Client):
        return None
    layer: Any = connection.__dict__.get("_llmproxy_layer")
    if layer is None:
        layers = reversed(connection.context.layers)
        layer = next((each for each in layers if isinstance(each, HttpLayer)), None)
        connection._llmproxy_layer = layer  # type: ignore[attr-defined]
    stream: Any = layer and layer.streams.get(connection.stream_id)
    if (
        stream is None
        or stream._paused is not None
        or stream.debug is not None
        or "_handle_event" in stream.__dict__
        or getattr(stream.server_state, "__func__", None) is not HttpStream.state_stream_response_body
    ):
        return None
    stores = stream.__dict__.get("_llmproxy_stores")
    if stores is None:  # an option from mitmproxy 12 on
        stores = stream._llmproxy_stores = getattr(stream.context.options, "store_streamed_bodies", False)
    return None if stores else stream


def _client(connection: Any, stream: Any) -> Any:
    """Give the side of a client of HTTP/1 that waits for the pieces of `stream`; None for any other."""
    client = connection._llmproxy_layer.connections.get(stream.context.client)
    known = type(client) is Http1Server and client._paused is None and client.stream_id == stream.stream_id
    return client if known and client.response is not None else None


def _is_chunked(client: Any) -> bool:
    """Tell whether the answer that is sent there is chunked, as its head has said."""
    known: tuple[Any, bool] | None = client.__dict__.get("_llmproxy_framing")
    if known is None or known[0] is not client.response:
        coding = client.response.headers.get("transfer-encoding", "").lower()
        known = client._llmproxy_framing = (client.response, "chunked" in coding)
    return known[1]

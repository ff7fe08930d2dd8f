"""Bound what a client sends, by the internals of mitmproxy that keep it and set no bounds themselves.

``tests/addons/mitm/test_bounds.py`` fails when a version changes them.
"""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import wsproto.events
from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.proxy import commands
from mitmproxy.proxy.events import ConnectionClosed, DataReceived
from mitmproxy.proxy.layers.http._http1 import Http1Server
from mitmproxy.proxy.layers.websocket import WebsocketConnection
from mitmproxy.proxy.server import ConnectionHandler
from mitmproxy.proxy.utils import ReceiveBuffer

from addons.mitm import internals as mitm

MESSAGE_TOO_BIG = 1009
"""Close code of RFC 6455 section 7.4.1."""
END_OF_HEAD = re.compile(rb"\n\r?\n")
HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-type: application/json\r\n"
    b"x-should-retry: false\r\ncontent-length: %d\r\n\r\n%s"
)

head_began: WeakKeyDictionary[Client, float] = WeakKeyDictionary()
"""Since when (monotonic seconds) each client that has sent a part of a request's head owes the rest."""


class BoundedBuffer(ReceiveBuffer):
    """Takes the place of a stream's request buffer; it keeps nothing of a body beyond its limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = limit

    @property
    def exceeded(self) -> bool:
        """Tell whether more came than the limit allows."""
        return self._left < 0

    def __iadd__(self, other: bytes) -> BoundedBuffer:
        if not self.exceeded:
            self._left -= len(other)
            if self.exceeded:
                self.clear()
            else:
                super().__iadd__(other)
        return self


_bounded: WeakKeyDictionary[http.HTTPFlow, BoundedBuffer] = WeakKeyDictionary()


def bound_request_body(flow: http.HTTPFlow, limit: int) -> None:
    """Keep at most `limit` bytes of the body of `flow`; :func:`body_exceeded` tells whether more came."""
    if stream := mitm.stream_of(flow):
        stream.request_body_buf = _bounded[flow] = BoundedBuffer(limit)


def body_exceeded(flow: http.HTTPFlow) -> bool:
    """Tell whether more of the body of `flow` came than :func:`bound_request_body` allowed."""
    return (buffer := _bounded.get(flow)) is not None and buffer.exceeded


def bound_request_heads(limit: int, refusal: bytes) -> None:
    """Answer an HTTP/1 request whose head is longer than `limit` bytes with 431 and `refusal`, and hang up.

    HTTP/2 has such a bound of its own. Installed once per process; a later call replaces the bound.
    """
    Http1Server._llmproxy_head = (limit, HEAD_TOO_LARGE % (len(refusal), refusal))  # type: ignore[attr-defined]
    original: Any = Http1Server.read_headers
    if getattr(original, "_llmproxy", False):
        return

    @functools.wraps(original)
    def read_headers(self: Any, event: Any) -> mitm.Commands:
        limit, answer = Http1Server._llmproxy_head  # type: ignore[attr-defined]
        if isinstance(event, DataReceived) and _is_longer(self.buf, limit):
            head_began.pop(self.conn, None)
            self.buf = type(self.buf)()
            self.state = self.done
            yield commands.SendData(self.conn, answer)
            yield commands.CloseConnection(self.conn)
            return
        yield from original(self, event)
        if self.state == self.read_headers and self.buf:
            head_began.setdefault(self.conn, time.monotonic())
        else:
            head_began.pop(self.conn, None)

    wait: Any = Http1Server.wait

    @functools.wraps(wait)
    def wait_bounded(self: Any, event: Any) -> mitm.Commands:
        """Bound what is kept until the answer to the last request has gone: the next ones, if anything."""
        limit, _ = Http1Server._llmproxy_head  # type: ignore[attr-defined]
        if isinstance(event, DataReceived) and len(self.buf) > 2 * limit:
            event = ConnectionClosed(self.conn)
        yield from wait(self, event)

    read_headers._llmproxy = True  # type: ignore[attr-defined]
    Http1Server.read_headers = read_headers  # type: ignore[method-assign]
    Http1Server.wait = wait_bounded  # type: ignore[method-assign]


def _is_longer(buffer: Any, limit: int) -> bool:
    """Tell whether the head at the start of h11's `buffer` is longer than `limit` bytes, complete or not."""
    return len(buffer) > limit and END_OF_HEAD.search(buffer._data, 0, limit + 4) is None


def bound_websocket_messages(limit: int) -> None:
    """End a WebSocket on which a client's message grows longer than `limit` bytes, in however many pieces.

    Upstream's may be longer: pictures, or a whole answer once more. Installed once per process; a later call
    replaces the limit.
    """
    connection: Any = WebsocketConnection
    connection._llmproxy_limit = limit
    original: Any = connection.events
    if getattr(original, "_llmproxy", False):
        return
    connection._llmproxy_length = 0

    @functools.wraps(original)
    def events(self: Any) -> Iterator[wsproto.events.Event]:
        for event in original(self):
            if isinstance(event, wsproto.events.Message) and not self.client:
                self._llmproxy_length += len(event.data)
                if self._llmproxy_length > connection._llmproxy_limit:
                    self.frame_buf = [b""]
                    yield wsproto.events.CloseConnection(MESSAGE_TOO_BIG, "The message is too long.")
                    return
                if event.message_finished:
                    self._llmproxy_length = 0
            yield event

    events._llmproxy = True  # type: ignore[attr-defined]
    connection.events = events


@dataclass(slots=True)
class _Held:
    """Holds what a connection has read from its client while hooks were awaited."""

    hooks: int = 0
    size: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)


def bound_what_waits_for_hooks(limit: int) -> None:
    """Stop reading from a client once `limit` bytes have come from it while a hook was awaited.

    mitmproxy reads on, and keeps all of it until the hook is done. Installed once per process.
    """
    handler: Any = ConnectionHandler
    hook_task, server_event, drain_writers = handler.hook_task, handler.server_event, handler.drain_writers
    if getattr(hook_task, "_llmproxy", False):
        return

    @functools.wraps(hook_task)
    async def hook_task_counted(self: Any, hook: Any) -> None:
        held = self.__dict__.get("_llmproxy_held")
        if held is None:
            held = self._llmproxy_held = _Held()
        held.hooks += 1
        try:
            await hook_task(self, hook)
        finally:
            held.hooks -= 1
            if not held.hooks:
                held.size = 0
                held.over.set()

    # Plain functions, for each piece of a stream comes by them: where nothing is to be done, the
    # coroutine is mitmproxy's own.
    @functools.wraps(server_event)
    def server_event_measured(self: Any, event: Any) -> Awaitable[None]:
        held = self.__dict__.get("_llmproxy_held")
        if held is not None and held.hooks and isinstance(event, DataReceived):
            held.size += len(event.data) if event.connection is self.client else 0
        return server_event(self, event)  # type: ignore[no-any-return]

    @functools.wraps(drain_writers)
    def drain_writers_and_wait(self: Any) -> Awaitable[None]:
        held = self.__dict__.get("_llmproxy_held")
        waits = held is not None and held.hooks and held.size > limit
        return drain_and_wait(self, held) if waits else drain_writers(self)

    async def drain_and_wait(self: Any, held: _Held) -> None:
        await drain_writers(self)
        transport = self.transports.get(self.client)
        if transport is None or transport.handler is not asyncio.current_task():
            return
        while held.hooks and held.size > limit:
            held.over.clear()
            await held.over.wait()

    hook_task_counted._llmproxy = True  # type: ignore[attr-defined]
    handler.hook_task = hook_task_counted
    handler.server_event = server_event_measured
    handler.drain_writers = drain_writers_and_wait

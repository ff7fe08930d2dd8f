"""Make calls as fast as they are answered, or streams, over connections of our own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import click

from scripts.benchmarks.speed.upstream import HOST, MODEL

CHAT_PATH, RESPONSES_PATH = "/v1/chat/completions", "/v1/responses"
LENGTH = re.compile(rb"content-length: (\d+)")
PIECE = 2**16


@dataclass(frozen=True, slots=True)
class Door:
    """Says where calls go, and with which headers."""

    port: int
    headers: Sequence[tuple[str, str]]
    path: str = CHAT_PATH
    tunnel: ssl.SSLContext | None = None
    """For CONNECT and TLS, as clients with HTTPS_PROXY come."""

    def head(self, body: bytes, path: str = "", kind: str = "application/json") -> bytes:
        """Write the head of a request with this body."""
        lines = [
            f"POST {path or self.path} HTTP/1.1",
            "Host: api.openai.com" if self.tunnel else f"Host: {HOST}:{self.port}",
            *(f"{name}: {value}" for name, value in self.headers),
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "\r\n"]).encode()


@dataclass(slots=True)
class Connection:
    """Sends requests one after the other and reads each answer whole."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, head: bytes, body: bytes) -> None:
        if len(body) < PIECE:
            self.writer.write(head + body)
            return
        self.writer.write(head)
        for start in range(0, len(body), PIECE):
            self.writer.write(body[start : start + PIECE])
            await self.writer.drain()

    async def begin_answer(self) -> bytes:
        """Read the head of an answer, in lower case. Raises ClickException for any but 200."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            more = await self.reader.read(300)
            raise click.ClickException(f"a call was answered with {head.splitlines()[0]!r}: {more!r}")
        return head.lower()

    async def pieces(self, head: bytes) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        if found := LENGTH.search(head):
            left = int(found[1])
            while left:
                data = await self.reader.read(min(left, PIECE))
                if not data:
                    raise click.ClickException("an answer broke off.")
                left -= len(data)
                yield data
            return
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)

    async def call(self, head: bytes, body: bytes) -> None:
        await self.send(head, body)
        async for _ in self.pieces(await self.begin_answer()):
            pass


async def connect(door: Door) -> Connection:
    """Open a connection, by CONNECT and TLS if the door has a tunnel."""
    reader, writer = await asyncio.open_connection(HOST, door.port, limit=2**20)
    if door.tunnel:
        writer.write(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            raise click.ClickException(f"CONNECT was answered with {head.splitlines()[0]!r}.")
        await writer.start_tls(door.tunnel, server_hostname="api.openai.com")
    return Connection(reader, writer)


@asynccontextmanager
async def connection(door: Door) -> AsyncIterator[Connection]:
    """Open a connection and close it in the end."""
    opened = await connect(door)
    try:
        yield opened
    finally:
        opened.writer.close()


@dataclass(slots=True)
class Load:
    """Holds what came of calls made for a while."""

    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    """Seconds of each call, its new connection included."""


async def load(
    door: Door,
    body: bytes,
    connections: int,
    *,
    seconds: float = 0.0,
    requests: int = 0,
    keep: bool = True,
) -> Load:
    """Call for some seconds, or so many times, over connections that are kept or are new each time."""
    found = Load()
    head = door.head(body)
    left = requests or 2**62
    begun = time.monotonic()

    def is_over() -> bool:
        return left <= 0 or (seconds > 0 and time.monotonic() - begun > seconds)

    async def kept(opened: Connection) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.monotonic()
            await opened.call(head, body)
            found.waits.append(time.monotonic() - started)
            if is_over():
                return

    async def new() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.monotonic()
            async with connection(door) as opened:
                await opened.call(head, body)
                found.waits.append(time.monotonic() - started)
            if is_over():
                return

    if not keep:
        await asyncio.gather(*(new() for _ in range(connections)))
        found.seconds = time.monotonic() - begun
        return found
    async with contextlib.AsyncExitStack() as stack:
        opened = await asyncio.gather(
            *(stack.enter_async_context(connection(door)) for _ in range(connections))
        )
        begun = time.monotonic()
        await asyncio.gather(*(kept(each) for each in opened))
        found.seconds = time.monotonic() - begun
    return found


def payload_of(size: int, path: str = CHAT_PATH, *, user: str = "", stream: bool = False) -> bytes:
    """Write a request of about `size` bytes; `user` is what the upstream is asked for."""
    value: dict[str, object] = {"model": MODEL}
    if user:
        value["user"] = user
    if stream:
        value |= {"stream": True, "stream_options": {"include_usage": True}}
    words = "a word " * (max(0, size - len(json.dumps(value)) - 60) // 7)
    if path == RESPONSES_PATH:
        return json.dumps({**value, "input": words}).encode()
    return json.dumps({**value, "messages": [{"role": "user", "content": words}]}).encode()

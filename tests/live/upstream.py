"""A small HTTP/1.1 server in the place of the API: real TLS, every byte and pause in the test's hands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import trustme

ABORT = object()
"""In the chunks of an answer: break the connection here."""


@dataclass(slots=True)
class Seen:
    """A request as the upstream got it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Answer:
    """What the upstream says: `chunks` are bytes to send, seconds to wait, events to wait for, or ABORT."""

    chunks: Sequence[Any] = ()
    status: int = 200
    headers: Sequence[tuple[str, str]] = (("content-type", "application/json"),)
    chunked: bool = True


def json_answer(value: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    body = json.dumps(value).encode()
    return Answer([body], status, [("content-type", "application/json"), *headers], chunked=False)


def stream_answer(chunks: Sequence[Any]) -> Answer:
    return Answer(chunks, headers=[("content-type", "text/event-stream")])


Handler = Callable[[Seen], Answer]


@dataclass
class Upstream:
    """Runs in a thread of its own; `handler` may be replaced at any time."""

    handler: Handler
    certificate: trustme.LeafCert | None = None
    requests: list[Seen] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://localhost:{self.port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Upstream]:
        started = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._main(started)), daemon=True)
        thread.start()
        assert started.wait(10)
        try:
            yield self
        finally:
            self.stop()
            thread.join(10)

    def stop(self) -> None:
        """Close listener and connections; nothing where that was done before."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)

    async def _main(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        context = None
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.certificate.configure_cert(context)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while (seen := await self._read(reader)) is not None:
                self.requests.append(seen)
                await self._write(writer, await asyncio.to_thread(self.handler, seen))
        writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> Seen | None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = first.split(" ", 2)
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        seen = Seen(method, path, headers, b"")
        if length := seen.header("content-length"):
            seen.body = await reader.readexactly(int(length))
        elif (seen.header("transfer-encoding") or "").lower() == "chunked":
            while size := int(await reader.readline(), 16):
                seen.body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        return seen

    async def _write(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        lines = [f"HTTP/1.1 {answer.status} Status", *(f"{name}: {value}" for name, value in answer.headers)]
        if answer.chunked:
            lines.append("transfer-encoding: chunked")
        else:
            lines.append(f"content-length: {sum(len(chunk) for chunk in answer.chunks)}")
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        for chunk in answer.chunks:
            if chunk is ABORT:
                await writer.drain()
                raise ConnectionAbortedError
            if isinstance(chunk, threading.Event):
                await writer.drain()
                while not chunk.is_set():  # noqa: ASYNC110 - a thread's event has nothing to await
                    await asyncio.sleep(0.005)
            elif isinstance(chunk, float):
                await writer.drain()
                await asyncio.sleep(chunk)
            elif chunk:
                writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if answer.chunked else chunk)
                await writer.drain()
        if answer.chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()

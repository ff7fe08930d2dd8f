"""Run the upstream of the measurements, in a process of its own, so that it takes no time of the client's.

It answers like the API, as the body's `user` asks it to: ``answer=large``, or ``rate=50,events=200`` of a
stream. (A header would not do: not every gateway sends those on.)
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import multiprocessing
import re
import socket
import time
import zlib
from collections.abc import Iterator
from functools import cache
from multiprocessing.synchronize import Event
from typing import Any

import click

HOST = "127.0.0.1"
MODEL = "gpt-4o-mini"
CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "word " * 150}}
    ],
    "usage": {"prompt_tokens": 400, "completion_tokens": 150, "total_tokens": 550},
}
"""About a kilobyte."""
RESPONSE: dict[str, Any] = {
    "object": "response",
    "created_at": 1_700_000_000,
    "status": "completed",
    "model": "gpt-4o-mini-2024-07-18",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "word " * 150, "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 400, "output_tokens": 150, "total_tokens": 550},
}
UPLOADED = {"text": "word " * 20, "usage": {"type": "duration", "seconds": 60}}
"""The answer to an audio file."""
ASKED = re.compile(rb'"user": ?"([a-z]+=[^"]*)"')
STREAMED = re.compile(rb'"stream": ?true')
PIECE = 2**16
WHOLE = 2**20
"""Bodies up to this size are read at once; of others, the beginning is kept."""
BURST = 8
"""Events of a stream at full speed that are written before others are served."""
START_SECONDS = 30


def asking(**wanted: object) -> str:
    """Write what the upstream is asked for, as a request's `user`."""
    return ",".join(f"{name}={value}" for name, value in wanted.items())


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """Run the server; yields its port."""
    context = multiprocessing.get_context("spawn")
    with socket.create_server((HOST, 0)) as listener:
        port = int(listener.getsockname()[1])
    started = context.Event()
    process = context.Process(target=_serve, args=(port, started), daemon=True)
    process.start()
    if not started.wait(START_SECONDS):
        raise click.ClickException("the upstream did not start.")
    try:
        yield port
    finally:
        process.terminate()
        process.join()


def _serve(port: int, started: Event) -> None:
    async def serve() -> None:
        server = await asyncio.start_server(_handle, HOST, port, backlog=1024)
        started.set()
        await server.serve_forever()

    asyncio.run(serve())


async def _handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await _body(reader, head)
            found = ASKED.search(body)
            wanted = dict(part.split("=", 1) for part in found[1].decode().split(",")) if found else {}
            if STREAMED.search(body):
                await _stream(writer, wanted)
            else:
                writer.write(_answer(head, wanted.get("answer", "")))
    writer.close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    length = re.search(rb"content-length: (\d+)", head.lower())
    left = int(length[1]) if length else 0
    if left <= WHOLE:
        return await reader.readexactly(left)
    first = b""
    while left:
        data = await reader.read(min(left, PIECE))
        if not data:
            raise asyncio.IncompleteReadError(b"", left)
        first, left = first or data, left - len(data)
    return first


_numbers = itertools.count(1)


def _answer(head: bytes, wanted: str) -> bytes:
    path = head.split(b" ", 2)[1]
    if path.startswith(b"/v1/responses"):  # an object of its own each time, which somebody then owns
        return _framed(
            json.dumps({"id": f"resp_{time.monotonic_ns()}_{next(_numbers)}", **RESPONSE}).encode()
        )
    return _kept_answer("uploaded" if path.startswith(b"/v1/audio") else wanted)


@cache
def _kept_answer(wanted: str) -> bytes:
    if wanted == "unreported":
        return _framed(json.dumps({name: value for name, value in CHAT.items() if name != "usage"}).encode())
    if wanted == "large":  # 10 MB
        padding = [{"word": number} for number in range(600_000)]
        return _framed(json.dumps({**CHAT, "padding": padding}).encode())
    if wanted == "bomb":  # 50 MB
        message = {"role": "assistant", "content": "word " * 10_000_000}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        packed = gzip.compress(json.dumps({**CHAT, "choices": choices}).encode())
        return _framed(packed, b"content-encoding: gzip\r\n")
    return _framed(json.dumps(UPLOADED if wanted == "uploaded" else CHAT).encode())


def _framed(body: bytes, more: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\n"
        b"%bcontent-length: %d\r\n\r\n%b" % (more, len(body), body)
    )


async def _stream(writer: asyncio.StreamWriter, wanted: dict[str, str]) -> None:
    """Answer with events, each of which says when it was sent; with `rate=0` as fast as they are taken."""
    rate, count = float(wanted.get("rate", 50)), int(wanted.get("events", 200))
    packer = zlib.compressobj(wbits=31) if wanted.get("coding") == "gzip" else None
    coding = b"content-encoding: gzip\r\n" if packer else b""
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n%btransfer-encoding: chunked\r\n\r\n" % coding
    )
    begun = time.monotonic()
    for number in range(count + 1):
        data = _event(number, last=number == count, reported=wanted.get("usage") != "no")
        if packer:
            data = packer.compress(data) + packer.flush(
                zlib.Z_FINISH if number == count else zlib.Z_SYNC_FLUSH
            )
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await writer.drain()
        if rate:
            await asyncio.sleep(max(0.0, begun + (number + 1) / rate - time.monotonic()))
        elif number % BURST == 0:
            await asyncio.sleep(0)  # the proxy is measured, and not who waits for whom here
    writer.write(b"0\r\n\r\n")


def _event(number: int, *, last: bool, reported: bool) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL}
    if last:
        said = [{**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
        if reported:
            said.append({**head, "choices": [], "usage": CHAT["usage"]})
        return b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in said) + b"data: [DONE]\n\n"
    delta = {"content": f"sent={time.monotonic():.6f} "} | ({} if number else {"role": "assistant"})
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return b"data: %b\n\n" % json.dumps({**head, "choices": [choice]}).encode()

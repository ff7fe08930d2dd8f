"""Measure how long the content view takes for large bodies: time on mitmproxy's event loop."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import click
from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.utils.strutils import escape_control_characters
from rich.console import Console
from rich.table import Table

from addons.flow import flow_metadata
from addons.hooks.inspector import content_view
from addons.openai import Request, Response, summarize

WORD = "Grüße aus dem Proxy, "


@click.command()
@click.option("--megabytes", default=5.0, show_default=True, help="Size of each body.")
@click.option("--rounds", default=5, show_default=True, help="The fastest of so many is shown.")
def inspector(megabytes: float, rounds: int) -> None:
    """Milliseconds of CPU for the view of one large body, with mitmproxy's own work on the text."""
    table = Table(title=f"Content view of {megabytes:g} MB, ms of CPU (best of {rounds})", box=None)
    for column in ("body", "the view", "with mitmproxy's", "characters shown"):
        table.add_column(column, justify="right")
    for name, flow, message in _flows(int(megabytes * 1e6)):
        data = message.content or b""
        shown = ""
        alone, whole = [], []
        for _ in range(rounds):
            begun = time.process_time()
            shown = content_view.render(data, flow, message)
            alone.append(time.process_time() - begun)
            escape_control_characters(shown)
            whole.append(time.process_time() - begun)
        table.add_row(name, f"{min(alone) * 1e3:.0f}", f"{min(whole) * 1e3:.0f}", f"{len(shown):,}")
    Console().print(table)


def _flows(size: int) -> Iterator[tuple[str, http.HTTPFlow, http.Message]]:
    said = WORD * (size // len(WORD.encode()))
    turns = [{"role": "user", "content": WORD * 20}] * (size // 500)
    for name, messages in (
        ("chat, one long message", [{"role": "user", "content": said}]),
        ("chat, many", turns),
    ):
        flow = _flow("chat/completions", {"model": "gpt-4o", "messages": messages})
        yield name, flow, flow.request
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'iVBORw0K' * (size // 8)}"}}
    flow = _flow("chat/completions", {"messages": [{"role": "user", "content": [image]}]})
    yield "chat, an image", flow, flow.request
    vectors = [
        {"object": "embedding", "index": n, "embedding": [0.0123456] * 1536} for n in range(size // 16_000)
    ]
    flow = _flow("embeddings", {"input": "x"}, {"object": "list", "data": vectors})
    assert flow.response
    yield "embeddings", flow, flow.response
    flow = _flow("chat/completions", {"stream": True}, _stream(size))
    assert flow.response
    yield "event stream, not seen before", flow, flow.response
    summary = summarize(
        Request("POST", flow.request.path),
        Response(200, [("content-type", "text/event-stream")], flow.response.content or b""),
    )
    content_view.assembled[flow] = summary.output
    yield "event stream of a live call", flow, flow.response


def _stream(size: int) -> bytes:
    delta = {"index": 0, "delta": {"content": WORD}, "finish_reason": None}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [delta]}
    event = f"data: {json.dumps(chunk)}\n\n".encode()
    return event * (size // len(event))


def _flow(path: str, request: dict[str, Any], answer: object = b"") -> http.HTTPFlow:
    address = ("127.0.0.1", 1)
    client = Client(peername=address, sockname=address, timestamp_start=0.0)
    flow = http.HTTPFlow(client, Server(address=address))
    url = f"https://api.openai.com/v1/{path}"
    flow.request = http.Request.make("POST", url, json.dumps(request, ensure_ascii=False).encode())
    stream = isinstance(answer, bytes)
    kind = "text/event-stream" if stream else "application/json"
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    flow.response = http.Response.make(200, body, {"content-type": kind})
    flow.metadata[flow_metadata.CALL] = "bench"
    return flow

"""Provide the content view "OpenAI": what mitmweb, mitmproxy and mitmdump show of a call.

mitmproxy asks for it on its event loop, so the work is bounded: of a long event stream that was not
reassembled before (by the worker, for the call's event) only the two ends are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from mitmproxy import contentviews, http
from mitmproxy.websocket import WebSocketMessage

from addons.flow import flow_metadata
from addons.hooks.inspector import conversation, figures
from addons.hooks.inspector.text import MOST, shortened
from addons.openai import Request, Response, summarize
from addons.openai.http.body import header, open_body
from store.core.event import Error, Usage, UsageEvent
from store.core.event_fields import read_record

NAME = "OpenAI"
PRIORITY = 2.0
"""Above mitmproxy's own views, which rate themselves from 0 to 1."""
BETWEEN = "\n \n"
"""mitmweb does not show a line that is quite empty."""
READ = 768 * 1024
"""Bytes of an event stream that are read here; a longer one is read at its two ends."""

assembled: WeakKeyDictionary[http.HTTPFlow, Any] = WeakKeyDictionary()
"""The answers that came as event streams, each as one object. Not in the flow: it would be saved twice."""


def render(
    data: bytes,
    flow: object,
    message: object,
) -> str:
    """Give the text of the view. `data` is the message's content, decoded."""
    flow = flow if isinstance(flow, http.HTTPFlow) else None
    if isinstance(message, WebSocketMessage):
        parts = _frame(data)
    elif flow is not None and message is flow.request:
        parts = _request(data, flow)
    elif flow is not None and flow.websocket is not None and not data:
        parts = _session(flow)
    else:
        parts = _answer(data, flow)
    return shortened(BETWEEN.join(text for part in parts if (text := part.rstrip("\n"))), MOST)


def priority(flow: object, content_type: str | None, message: object) -> float:
    """Give a high priority for the calls that the gate has seen; the view can be chosen for others."""
    concerned = isinstance(flow, http.HTTPFlow) and flow_metadata.CALL in flow.metadata
    if (
        concerned
        and isinstance(message, http.Response)
        and (content_type or "").startswith(("image/", "text/html"))
    ):
        return -1  # mitmproxy shows these better
    return PRIORITY if concerned else -1


def _request(data: bytes, flow: http.HTTPFlow) -> Iterator[str]:
    opened = open_body(Request(flow.request.method, flow.request.path, _headers(flow.request), data))
    yield from conversation.request(opened.text if opened.value is None else opened.value)


def _answer(data: bytes, flow: http.HTTPFlow | None) -> Iterator[str]:
    event = _event(flow) if flow else None
    output = assembled.get(flow) if flow else None
    sound = _bytes_of(data, flow)
    if output is None and not sound:
        summary = summarize(*_messages(data, flow))
        output = summary.output
        if event is None:
            usage, error = summary.usage, summary.error
            event = UsageEvent(
                model=summary.model,
                usage=Usage(**usage.as_dict()) if usage and not summary.usage_elsewhere else None,
                error=Error(error.type, error.code, error.message) if error else None,
                finish_reasons=list(summary.finish_reasons),
                response_id=summary.response_id,
                truncated=list(summary.truncated),
            )
    yield _head(event)
    yield sound
    yield from conversation.answer(output)


def _event(flow: http.HTTPFlow) -> UsageEvent | None:
    """Give the event that was put on a flow, maybe by another version, which saved it."""
    fields = flow.metadata.get(flow_metadata.EVENT)
    return read_record(fields, UsageEvent) if isinstance(fields, dict) else None


def _head(event: UsageEvent | None) -> str:
    return "\n".join(figures.head(event)) if event is not None else ""


def _session(flow: http.HTTPFlow) -> Iterator[str]:
    """Give a WebSocket session as a whole; its messages have views of their own."""
    yield _head(_event(flow))
    assert flow.websocket is not None
    for message in flow.websocket.messages[-conversation.LAST :]:
        yield from _frame(message.content, "client" if message.from_client else "server")


def _frame(data: bytes, side: str = "") -> Iterator[str]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    prefix = f"{side}: " if side else ""
    if not isinstance(value, dict):
        yield f"{prefix}[{len(data):,} bytes]"
        return
    blocks = list(conversation.event(value))
    yield prefix + blocks[0]
    yield from blocks[1:]


def _messages(data: bytes, flow: http.HTTPFlow | None) -> tuple[Request, Response]:
    if flow is None or flow.response is None:
        return Request("POST", "/"), Response(200, [], data)
    request = Request(flow.request.method, flow.request.path)
    headers = _headers(flow.response)
    skipped = len(data) - READ
    if skipped > 0 and header(headers, "content-type").startswith("text/event-stream"):
        half = READ // 2
        return request, Response(
            flow.response.status_code, headers, data[:half], skipped=skipped, tail=data[-half:]
        )
    return request, Response(flow.response.status_code, headers, data)


def _headers(message: http.Message) -> list[tuple[str, str]]:
    """Give the headers without the coding, which mitmproxy has undone."""
    return [pair for pair in message.headers.items(multi=True) if pair[0].lower() != "content-encoding"]


def _bytes_of(data: bytes, flow: http.HTTPFlow | None) -> str:
    """Give size and type of an answer that is sound, an image or a file."""
    kind = flow.response.headers.get("content-type", "") if flow and flow.response else ""
    kind = kind.partition(";")[0].strip()
    if data and kind.startswith(("audio/", "image/", "video/", "application/octet-stream")):
        return f"[{kind}, {len(data):,} bytes]"
    return ""


class OpenAIView:
    """Speaks the interfaces of mitmproxy 11 (``View``) and 12 (``Contentview``)."""

    name = NAME
    syntax_highlight = "none"

    def prettify(self, data: bytes, metadata: Any) -> str:
        """Render for mitmproxy 12; `metadata` is its ``contentviews.Metadata``."""
        return render(data, metadata.flow, metadata.websocket_message or metadata.http_message)

    def __call__(self, data: bytes, *, flow: Any = None, **given: Any) -> tuple[str, Iterator[list[Any]]]:
        """Render for mitmproxy 11: give a description, and lines of pieces of text with their styles."""
        text = render(data, flow, given.get("websocket_message") or given.get("http_message"))
        return NAME, ([("text", line)] for line in text.splitlines())

    def render_priority(self, _: bytes, metadata: Any = None, **given: Any) -> float:
        """Give the priority to both versions; 11 gives keywords."""
        known = given if metadata is None else vars(metadata)
        message = known.get("websocket_message") or known.get("http_message")
        return priority(known.get("flow"), known.get("content_type"), message)

    def __lt__(self, other: Any) -> bool:
        return bool(self.name < other.name)


_view = OpenAIView()
_registered: list[Any] = []


def register() -> None:
    """Add the view, once per process: it outlives a reload of the script."""
    if not _registered:
        contentviews.add(_view)  # type: ignore[arg-type]
        _registered.append(_view)

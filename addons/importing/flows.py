"""Read flow files of mitmproxy (``-w``, "Save" in mitmweb)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO

from mitmproxy import http
from mitmproxy.io import FlowReader

from addons.importing.exchange import Damaged, Recorded
from addons.importing.sessions import split
from addons.openai.realtime.realtime import Frame


def read(file: BinaryIO) -> Iterator[Recorded]:
    """Give the HTTP flows of a file; others are skipped. Raises Damaged."""
    number = 0
    stream = iter(FlowReader(file).stream())
    while True:
        try:
            flow = next(stream)
        except StopIteration:
            return
        except Exception as error:
            # FlowReadException, or whatever mitmproxy meets in a state that is none: it asserts its form.
            raise Damaged(f"after {number} flows: {error}") from error
        number += 1
        if isinstance(flow, http.HTTPFlow):
            yield from exchanges(flow)


def exchanges(flow: http.HTTPFlow) -> Iterator[Recorded]:
    """Give what one flow holds: an exchange, or the answers of a WebSocket session."""
    recorded = parse(flow)
    if flow.websocket is None:
        yield recorded
        return
    frames = [
        Frame(message.from_client, message.content, message.timestamp) for message in flow.websocket.messages
    ]
    yield from split(recorded, frames)


def parse(flow: http.HTTPFlow) -> Recorded:
    """Give one flow, as it was on the wire."""
    request, response = flow.request, flow.response
    ended = response.timestamp_end if response else None
    ended = (
        ended or (flow.error.timestamp if flow.error else request.timestamp_end) or request.timestamp_start
    )
    first = response.timestamp_start if response else None
    peer = flow.client_conn.peername
    return Recorded(
        method=request.method,
        url=request.url,
        request_headers=list(request.headers.items(multi=True)),
        request_body=request.raw_content or b"",
        status=response.status_code if response else None,
        response_headers=list(response.headers.items(multi=True)) if response else (),
        response_body=(response.raw_content or b"") if response else b"",
        started_at=datetime.fromtimestamp(request.timestamp_start, UTC),
        duration=max(0.0, ended - request.timestamp_start),
        first_byte=max(0.0, first - request.timestamp_start) if first else None,
        outcome=_outcome(flow),
        error=flow.error.msg if flow.error else None,
        client_address=peer[0] if peer else None,
        key=flow.id,
    )


def _outcome(flow: http.HTTPFlow) -> str:
    if flow.error is None:
        return "ok" if flow.response else "upstream_aborted"
    return "client_aborted" if "client" in flow.error.msg.lower() else "upstream_aborted"

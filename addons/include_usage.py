"""Asks upstream for the usage of streams whose clients did not, and keeps what that adds from the client.

The request that mitmweb and ``-w`` show is the one that went upstream; the event's ``request`` is the
client's own, with ``include_usage: "added"`` beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from mitmproxy import http

from addons import marks, usage_policy
from addons.calls import Call, open_calls
from addons.capture import Capture
from addons.destination import is_loopback, normalise
from addons.fail_closed import observe_only
from addons.openai.encoding import codings_of
from addons.openai.include_usage import read
from addons.openai.usage_cutter import UsageCutter
from addons.runtime import Runtime

logger = logging.getLogger(__name__)

MOST_REFUSING = 1000
ENDPOINTS = ("chat", "completions")
_coding: set[str] = set()
"""Hosts that have coded a stream although they were asked not to."""

Tap = Callable[[bytes], bytes | Sequence[bytes]]


class IncludeUsage:
    """Between the gate and the recorder: what fails here leaves request and answer as they were."""

    name = "llmproxy-include-usage"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.refusing: set[str] = set()
        """Host and path of calls that were refused for the question."""

    @observe_only
    def request(self, flow: http.HTTPFlow) -> None:
        call = open_calls.get(flow.id)
        if call is None or flow.response or call.refused or marks.CLEARED not in flow.metadata:
            return
        body = flow.request.raw_content
        if not body or flow.request.method != "POST" or call.endpoint not in ENDPOINTS:
            return
        content_type = flow.request.headers.get("content-type", "json")
        if "json" not in content_type.lower() or codings_of(flow.request.headers.get("content-encoding")):
            return
        streamed = read(body)
        if streamed is None:
            return
        call.usage_declined = streamed.include_usage is False
        host = _host(call)
        if streamed.include_usage is not None or _place(call) in self.refusing:
            return
        if not self.runtime.settings.include_usage.asks(host, flow.request.path, streamed.keys):
            return
        call.usage_added = True
        if call.request_body is None:
            call.request_body = body
        flow.request.content = streamed.asking  # sets content-length as well
        # Nothing can be cut out of a coded stream.
        flow.request.headers["accept-encoding"] = "identity"

    @observe_only
    def response(self, flow: http.HTTPFlow) -> None:
        """Never ask twice where the question itself was refused."""
        call = open_calls.get(flow.id)
        if call is None or flow.response is None or not call.usage_added or flow.response.status_code != 400:
            return
        body = call.response_capture.body().data if call.response_capture else b""
        # A client must not be able to bring this about: not where the parameter is known, nor by its own.
        if b"stream_options" not in body or b"stream_options" in (call.request_body or b""):
            return
        if usage_policy.is_openai(_host(call)) or len(self.refusing) >= MOST_REFUSING:
            return
        self.refusing.add(_place(call))
        logger.warning(
            "llmproxy: %s refuses stream_options, and is not asked for usage any more; "
            "llm_include_usage=off stops all asking",
            _place(call),
        )


def _host(call: Call) -> str:
    """Who answers: the true destination; but a server on this machine stands for the host that was named."""
    host = call.flow.request.host
    return normalise(call.host if is_loopback(host) else host)


def _place(call: Call) -> str:
    """Host and path; on Azure each deployment has its own."""
    return _host(call) + call.flow.request.path.partition("?")[0]


def tap(call: Call, response: http.Response, capture: Capture) -> Tap:
    """What mitmproxy calls with each piece of the answer: `capture` gets all, the client what it is due."""
    if not call.usage_added or response.status_code != 200:
        return capture.tap
    if not response.headers.get("content-type", "text/event-stream").lower().startswith("text/event-stream"):
        return capture.tap
    if codings_of(",".join(response.headers.get_all("content-encoding"))):
        if (host := _host(call)) not in _coding:
            _coding.add(host)
            logger.warning("llmproxy: %s codes streams although asked not to; clients see the usage", host)
        return capture.tap
    if "content-length" in response.headers:
        # It will be less, and how much less is known at the end only.
        del response.headers["content-length"]
        if call.flow.request.http_version == "HTTP/1.1":
            response.headers["transfer-encoding"] = "chunked"
    return _cutting(capture, UsageCutter())


def _cutting(capture: Capture, cutter: UsageCutter) -> Tap:
    """Never raises, and never gives an empty piece, which would end the client's stream."""
    broken = False

    def cut(data: bytes) -> list[bytes]:
        nonlocal broken
        capture.tap(data)
        if broken:
            return [data] if data else []
        held = bytes(cutter.held)
        try:
            passed = cutter.feed(data) if data else cutter.finish()
        except Exception:
            broken = True
            passed = held + data
            logger.exception("llmproxy: no usage can be cut out any more; the client gets all of its stream")
        return [passed] if passed else []

    return cut

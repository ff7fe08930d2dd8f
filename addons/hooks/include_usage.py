"""Asks upstream for the usage of streams whose clients did not, and keeps what that adds from the client.

The request that mitmweb and ``-w`` show is the one that went upstream; the event's ``request`` is the
client's own, with ``include_usage: "added"`` beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from mitmproxy import http

from addons.checks.limits.reservation import is_bounded
from addons.flow import flow_metadata, include_usage_hosts
from addons.flow.call import Call, open_calls
from addons.flow.capture import Capture
from addons.flow.fail_closed import observe_only
from addons.flow.network.addresses import is_loopback, normalise
from addons.openai.usage.usage_cutter import UsageCutter
from addons.runtime import Runtime

logger = logging.getLogger(__name__)

MOST_REFUSING = 1000
_coding: set[str] = set()
"""Hosts that have coded a stream although they were asked not to."""

Tap = Callable[[bytes], bytes | Sequence[bytes]]


class IncludeUsage:
    """Stands between the gate and the recorder: what fails here leaves request and answer as they were."""

    name = "llmproxy-include-usage"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.refusing: set[str] = set()
        """Host and path of calls that were refused for the question."""

    @observe_only
    def request(self, flow: http.HTTPFlow) -> None:
        call = open_calls.get(flow.id)
        if call is None or flow.response or call.refused or flow_metadata.CLEARED not in flow.metadata:
            return
        if call.method != "POST" or not call.kind.stream.usage_when_asked or call.body is None:
            return
        streamed = call.body.reading and call.body.reading.streamed
        if not streamed:
            return
        # Under a limit what was used has to be known, whatever client and options say.
        limited, policy = is_bounded(call), self.runtime.settings.include_usage
        if limited:
            policy = replace(policy, known=True)
        elif "content-encoding" in flow.request.headers:
            return
        call.usage_declined = streamed.include_usage is False and not limited
        if call.usage_declined or streamed.include_usage not in (None, False):
            return
        asks = policy.asks(_host(call), flow.request.path, streamed.keys)
        if not asks or _place(call) in self.refusing:
            return
        call.usage_added = True
        call.add_to_body(streamed.question)
        # Nothing can be cut out of a coded stream.
        flow.request.headers["accept-encoding"] = "identity"

    @observe_only
    def response(self, flow: http.HTTPFlow) -> None:
        """Note an upstream that refused the question itself, so that it is never asked twice."""
        call = open_calls.get(flow.id)
        if call is None or flow.response is None or not call.usage_added or flow.response.status_code != 400:
            return
        body = flow.response.get_content(strict=False) or b""  # errors are held whole
        # A client must not be able to bring this about: not where the parameter is known, nor by its own.
        if b"stream_options" not in body or b"stream_options" in (call.request_body or b""):
            return
        if include_usage_hosts.is_openai(_host(call)) or len(self.refusing) >= MOST_REFUSING:
            return
        self.refusing.add(_place(call))
        logger.warning(
            "llmproxy: %s refuses stream_options, and is not asked for usage any more; "
            "llm_include_usage=off stops all asking",
            _place(call),
        )


def _host(call: Call) -> str:
    """Name who answers: the true destination, but a server on this machine stands for the named host."""
    host = call.flow.request.host
    return normalise(call.host if is_loopback(host) else host)


def _place(call: Call) -> str:
    """Give host and path; on Azure each deployment has its own."""
    return _host(call) + call.flow.request.path.partition("?")[0]


def tap(call: Call, response: http.Response, capture: Capture) -> Tap:
    """Make what mitmproxy calls with each piece: `capture` gets all, the client what it is due."""
    if not call.usage_added or response.status_code != 200:
        return capture.tap
    answer = call.answered(response)
    if answer.content_type and not answer.is_stream:
        return capture.tap
    if answer.codings:
        if (host := _host(call)) not in _coding:
            _coding.add(host)
            logger.warning("llmproxy: %s codes streams although asked not to; clients see the usage", host)
        return capture.tap
    if "content-length" in response.headers:
        # It will be less, and how much less is known at the end only.
        del response.headers["content-length"]
        if call.flow.request.http_version == "HTTP/1.1":
            response.headers["transfer-encoding"] = "chunked"
    return _cutting(capture, UsageCutter(answer.parsed))


def _cutting(capture: Capture, cutter: UsageCutter) -> Tap:
    """Give a tap that cuts the usage out.

    It never raises, and never gives an empty piece, which would end the client's stream.
    """
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

"""The recorder: taps each answer without delaying it, and hands every call to the worker, exactly once."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Future

from mitmproxy import ctx, http

from addons import drain, include_usage, marks, mitm, session
from addons.calls import Call, open_calls
from addons.capture import Body, Capture
from addons.exchange import Exchange
from addons.fail_closed import observe_only
from addons.policy import refusals, running
from addons.runtime import Runtime

logger = logging.getLogger(__name__)

SLACK = 0.25
"""Seconds: mitmproxy's watch on silent connections starts before the bytes have come to our tap."""

HELD_BYTES = 64 * 2**20
"""Longest answer that is kept back whole; a longer download is streamed."""


class Recorder:
    """Last of the addons: nothing that goes wrong here reaches the client."""

    name = "llmproxy-recorder"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    @observe_only
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        call = open_calls.get(flow.id)
        if call is None or flow.response is None or call.refused:
            return
        call.headers_at = time.monotonic()
        if call.standing is not None:
            flow.response.headers.update(refusals.rate_headers(call.standing, "x-llmproxy-ratelimit"))
        if flow.response.status_code == 101:
            return
        coding = ",".join(flow.response.headers.get_all("content-encoding"))
        if marks.MINTS in flow.metadata or (
            self.runtime.settings.durability == "call" and _is_held_whole(flow.response)
        ):
            call.held_whole = True
        watchers = [] if call.held_whole else call.watchers
        call.response_capture = Capture(coding, self.runtime.settings.capture_limit, watchers)
        if call.held_whole:
            return
        stream = include_usage.tap(call, flow.response, call.response_capture)
        if (services := self.runtime.services) is not None:
            prices = self.runtime.settings.prices
            stream = running.tap(call, flow.response, stream, services.clerk, prices)
        flow.response.stream = stream

    @observe_only
    async def response(self, flow: http.HTTPFlow) -> None:
        """The answer is complete here, and its end goes to the client when this returns."""
        if flow.websocket is not None:
            return
        if self.runtime.settings.durability == "call":
            recorded: Future[None] = Future()
            self.finish(flow.id, "ok", recorded)
            await asyncio.wrap_future(recorded)
        else:
            self.finish(flow.id, "ok")

    @observe_only
    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self.finish(flow.id, "ok")

    @observe_only
    def error(self, flow: http.HTTPFlow) -> None:
        if call := open_calls.get(flow.id):
            self.finish(flow.id, _abort(call))

    def done(self) -> None:
        """The proxy ends, or only the script is reloaded: then its successor goes on with the open calls."""
        if ctx.master.should_exit.is_set():
            for flow_id in list(open_calls):
                self.finish(flow_id, "shutdown")
        self.runtime.close()

    def finish(self, flow_id: str, outcome: str, recorded: Future[None] | None = None) -> None:
        """End a call. Every way out leads here; the second and later ones find nothing to do.

        `recorded` is done once the event is on disk, and at once where there is none to come.
        """
        call = open_calls.pop(flow_id, None)
        if call is None:
            if recorded is not None:
                recorded.set_result(None)
            return
        drain.end(flow_id)
        services = self.runtime.services
        if services is None:
            logger.error("llmproxy: call %s ended after the recorder was closed; its event is lost", call.id)
            return
        session_end = None
        if (over := session.finish(call.flow, outcome, services)) is not None:
            outcome, session_end = over
        exchange = _exchange(call, _outcome(call, outcome))
        exchange.session_end = session_end
        exchange.drained = call.left and outcome == "ok"
        exchange.recorded = recorded
        if call.batch is not None and exchange.outcome == "ok":
            exchange.batch = call.batch[0], call.batch[1].finish()
        services.clerk.ended(call.id)
        services.worker.put(exchange)
        _show_bodies(call)


def _outcome(call: Call, outcome: str) -> str:
    if call.refused:
        return "refused"
    if call.cut:
        return "budget_ended"
    return "client_aborted" if call.left else outcome


def _abort(call: Call) -> str:
    """Who ended the call before its answer was complete."""
    flow = call.flow
    message = flow.error.msg if flow.error else ""
    idle_since = call.response_capture.last_byte_at if call.response_capture else None
    if time.monotonic() - (idle_since or call.started) >= mitm.inactivity_timeout() - SLACK:
        return "timeout"
    # mitmproxy words both sides' disconnects alike; only the connection's state tells them apart.
    if not flow.client_conn.connected or "by client" in message:
        return "client_aborted"
    return "upstream_aborted"


def _is_held_whole(response: http.Response) -> bool:
    """Whether the end of its body would show before the end of the message can be held back."""
    if "text/event-stream" in response.headers.get("content-type", "").lower():
        return False
    length = response.headers.get("content-length", "")
    if length.isdecimal():
        return int(length) <= HELD_BYTES
    return "json" in response.headers.get("content-type", "").lower()


def _exchange(call: Call, outcome: str) -> Exchange:
    flow, response = call.flow, call.flow.response
    if call.held_whole and call.response_capture and response and response.raw_content:
        call.response_capture.tap(response.raw_content)
    form = call.request_form
    if form is not None:
        request_body = Body(b"", size=form.size)
    else:
        content = call.request_body or flow.request.raw_content or b""
        request_body = Body(content, size=len(content))
    exchange = Exchange(
        id=call.id,
        method=call.method,
        host=call.host,
        url=call.url,
        endpoint=call.endpoint,
        started_at=call.started_at,
        started=call.started,
        ended=time.monotonic(),
        outcome=outcome,
        request_headers=call.headers,
        request_body=request_body,
        request_form=form.form() if form is not None else None,
        error_code=call.refused or call.cut,
        error_message=flow.error.msg if flow.error else None,
        # The request is whole when it has ended; upstream is dialled after that, or has been before.
        sent=flow.request.timestamp_end is not None and flow.server_conn.timestamp_tcp_setup is not None,
        usage_added=call.usage_added,
        client_address=call.client_address,
        grant=call.grant,
        request_metadata=call.request_metadata,
        secrets=call.secrets,
        azure=call.azure,
        models=call.models,
    )
    if response is not None:
        exchange.status = response.status_code
        exchange.response_headers = list(response.headers.items(multi=True))
        if call.response_capture:
            exchange.response_body = call.response_capture.body()
            exchange.first_byte_at = call.response_capture.first_byte_at or call.headers_at
            if call.held_whole:
                exchange.first_byte_at = call.headers_at
        else:
            content = response.raw_content or b""
            exchange.response_body = Body(content, size=len(content))
    return exchange


def _show_bodies(call: Call) -> None:
    """Put the streamed bodies back into the flow, for mitmweb and ``-w``; they are not sent again."""
    request, response = call.flow.request, call.flow.response
    if call.request_form is not None:
        # Of files only name and size are shown, also where the whole form had to be read first.
        request.raw_content = call.request_form.form().as_bytes(request.headers.get("content-type", ""))
    if response is not None and call.response_capture is not None and not call.held_whole:
        body = call.response_capture.body()
        if not body.decoded:
            response.raw_content = body.data

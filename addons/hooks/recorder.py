"""Tap each answer without delaying it, and hand every call to the worker, exactly once."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Future

from mitmproxy import connection, ctx, http

from addons.checks.limits import limit_errors, stream_meter
from addons.flow import fail_closed, flow_metadata, stream_scrub
from addons.flow.answer_body import AnswerBody
from addons.flow.call import Call, open_calls
from addons.flow.fail_closed import observe_only
from addons.flow.network.upstream_errors import failure_of
from addons.hooks import drain, include_usage
from addons.hooks.websockets import session
from addons.mitm import internals as mitm
from addons.mitm.trim import Leftovers
from addons.recording.finished_call import exchange_of
from addons.runtime import Runtime

logger = logging.getLogger(__name__)

REQUEST_ID = "x-llmproxy-request-id"
"""Header of every answer: the event's `request_id`."""

SLACK = 0.25
"""Seconds: mitmproxy's watch on silent connections starts before the bytes have come to our tap."""

LEFT_BEHIND_SECONDS = 2.0
"""It says how long mitmproxy has, after a connection, to tell of the end of its calls."""

HELD_BYTES = 64 * 2**20
"""Longest answer that is kept back whole; a longer download is streamed."""


class Recorder:
    """Stands last of the addons: nothing that goes wrong here reaches the client."""

    name = "llmproxy-recorder"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._tasks: set[asyncio.Task[None]] = set()
        self._leftovers = Leftovers()

    @observe_only
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        call = open_calls.get(flow.id)
        if call is None or flow.response is None:
            return
        flow.response.headers[REQUEST_ID] = call.id
        if call.refused:
            return
        call.headers_at = time.monotonic()
        if call.standing is not None:
            flow.response.headers.update(limit_errors.rate_headers(call.standing, "x-llmproxy-ratelimit"))
        # What a script has answered in upstream's place is whole already, and is not streamed.
        if flow.response.status_code == 101 or flow.response.raw_content is not None:
            return
        answer = call.answered(flow.response)
        if flow_metadata.MINTS in flow.metadata or (
            self.runtime.settings.durability == "call" and _is_held_whole(flow.response, answer)
        ):
            call.held_whole = True
        capture = answer.keep(self.runtime.settings.capture_limit, watched=not call.held_whole)
        if call.held_whole:
            return
        stream = include_usage.tap(call, flow.response, capture)
        if (services := self.runtime.services) is not None:
            prices = self.runtime.settings.prices
            stream = stream_meter.tap(call, flow.response, stream, services.ledger, prices)
        flow.response.stream = stream_scrub.tap(call, flow.response, stream)

    @observe_only
    async def response(self, flow: http.HTTPFlow) -> None:
        """Finish the call: its answer is complete here, and its end goes to the client when this returns."""
        if flow.websocket is not None:
            return
        call = open_calls.get(flow.id)
        # A refusal never waits for the disk, which may be why it is one.
        if self.runtime.settings.durability == "call" and call is not None and not call.refused:
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
            outcome = _abort(call)
            if call.headers_at is None and outcome != "client_aborted":
                message = flow.error.msg if flow.error else ""
                call.failure = failure_of(message, unanswered=call.unanswered).code
            self.finish(flow.id, outcome)

    async def client_disconnected(self, client: connection.Client) -> None:
        """Let no call outlive its connection: mitmproxy forgets some after a failure of its own."""
        if any(call.flow.client_conn is client for call in open_calls.values()):
            task = asyncio.get_running_loop().create_task(self._end_left_behind(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _end_left_behind(self, client: connection.Client) -> None:
        """End what none of mitmproxy's own hooks ends; calls that a hook still works on come after that."""
        while True:
            await asyncio.sleep(LEFT_BEHIND_SECONDS)
            left = [flow_id for flow_id, call in open_calls.items() if call.flow.client_conn is client]
            for flow_id in left:
                if flow_id not in fail_closed.under_way:
                    logger.warning(
                        "llmproxy: call %s ended with its client's connection", open_calls[flow_id].id
                    )
                    self.finish(flow_id, "client_aborted")
            if not left:
                return

    def done(self) -> None:
        """End the open calls with the proxy; where only the script is reloaded, its successor has them."""
        if ctx.master.should_exit.is_set():
            for flow_id in list(open_calls):
                self.finish(flow_id, "shutdown")
        self.runtime.close()

    def finish(self, flow_id: str, outcome: str, recorded: Future[None] | None = None) -> None:
        """End a call. Every way out leads here; the second and later ones find nothing to do.

        `recorded` is done once the event is on disk, and at once where there is none to come.
        """
        call = open_calls.pop(flow_id, None)
        handed_over = False
        try:
            if call is not None:
                drain.end(flow_id)
                handed_over = self._hand_over(call, outcome, recorded)
        finally:
            if recorded is not None and not handed_over:
                recorded.set_result(None)  # the client waits for it

    def _hand_over(self, call: Call, outcome: str, recorded: Future[None] | None) -> bool:
        """Give the worker what is known of `call`; False where there is none any more."""
        services = self.runtime.services
        if services is None:
            logger.error("llmproxy: call %s ended after the recorder was closed; its event is lost", call.id)
            return False
        session_end = None
        if (over := session.finish(call.flow, outcome, services)) is not None:
            outcome, session_end = over
        exchange = exchange_of(call, _outcome(call, outcome))
        exchange.session_end = session_end
        exchange.left, exchange.drained = call.left, call.left and outcome == "ok"
        exchange.recorded = recorded
        if call.batch is not None and exchange.outcome == "ok":
            exchange.batch = call.batch[0], call.batch[1].finish()
        services.ledger.ended(call.id)
        services.worker.put(exchange)
        _show_bodies(call)
        self._leftovers.add(_size(call))
        return True


def _outcome(call: Call, outcome: str) -> str:
    if call.refused:
        return "refused"
    if call.cut:
        return "budget_ended"
    return "client_aborted" if call.left else outcome


def _size(call: Call) -> int:
    """Give the bytes of what its flow holds."""
    request, response = call.flow.request.raw_content, call.flow.response and call.flow.response.raw_content
    return len(request or b"") + len(response or b"")


def _abort(call: Call) -> str:
    """Name who ended the call before its answer was complete."""
    flow = call.flow
    if call.unanswered:
        return "timeout"
    message = flow.error.msg if flow.error else ""
    idle_since = call.capture.last_byte_at if call.capture is not None else None
    if time.monotonic() - (idle_since or call.started) >= mitm.inactivity_timeout() - SLACK:
        return "timeout"
    # mitmproxy words both sides' disconnects alike; only the connection's state tells them apart.
    if not flow.client_conn.connected or "by client" in message:
        return "client_aborted"
    return "upstream_aborted"


def _is_held_whole(response: http.Response, answer: AnswerBody) -> bool:
    """Tell whether the end of its body would show before the end of the message can be held back."""
    if answer.is_stream:
        return False
    length = response.headers.get("content-length", "")
    if length.isdecimal():
        return int(length) <= HELD_BYTES
    return "json" in answer.content_type


def _show_bodies(call: Call) -> None:
    """Put the streamed bodies back into the flow, for mitmweb and ``-w``; they are not sent again."""
    request, response = call.flow.request, call.flow.response
    if call.request_form is not None:
        # Of files only name and size are shown, also where the whole form had to be read first.
        request.raw_content = call.request_form.form().as_bytes(request.headers.get("content-type", ""))
    if response is not None and call.answer is not None and not call.held_whole:
        body = call.answer.kept()
        if body is not None and not body.decoded:
            response.raw_content = body.data

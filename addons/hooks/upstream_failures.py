"""Answer calls that upstream does not answer: with OpenAI's error object, and in time."""

from __future__ import annotations

import asyncio
import logging
import time

from mitmproxy import http
from mitmproxy.addonmanager import Loader

from addons.flow import cors, flow_metadata
from addons.flow.call import open_calls
from addons.flow.network.upstream_errors import failure_of
from addons.mitm import internals as mitm
from addons.runtime import Runtime

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
SPARE_SECONDS = 30.0
"""It says how much longer mitmproxy itself lets a connection be silent."""

unanswered: set[str] = set()
"""Ids of the flows that were given up. Module state, so that a reload of the script does not forget them."""


class UpstreamFailures:
    """Stands between mitmproxy's error page and the client."""

    name = "llmproxy-upstream-failures"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._task: asyncio.Task[None] | None = None

    def load(self, _: Loader) -> None:
        mitm.on_upstream_failed(self.answer)

    def running(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    def done(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def answer(self, flow: http.HTTPFlow, message: str) -> http.Response | None:
        """Give the answer to a call of ours; None for all else. Never raises."""
        given_up = flow.id in unanswered
        unanswered.discard(flow.id)
        if flow_metadata.CALL not in flow.metadata:
            return None
        try:
            response = failure_of(message, unanswered=given_up).response()
            cors.let_read(flow.request, response, self.runtime.settings.cors_origins)
            return response
        except Exception:
            logger.exception("llmproxy: the error of an upstream is shown as mitmproxy has it")
            return None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.give_up_silent()
            except Exception:
                logger.exception("llmproxy: calls that upstream does not answer may wait longer")

    async def give_up_silent(self) -> None:
        """End the calls to which not a byte of an answer came within `llm_answer_timeout`."""
        limit = self.runtime.settings.answer_timeout
        now = time.time()
        for flow in [call.flow for call in open_calls.values() if call.headers_at is None]:
            sent = flow.request.timestamp_end
            if sent is None or flow.response is not None or flow.id in unanswered:
                continue
            mitm.allow_silence(flow, limit + SPARE_SECONDS)
            if now - sent > limit and (call := open_calls.get(flow.id)):
                call.unanswered = True
                unanswered.add(flow.id)
                logger.warning("llmproxy: call %s is given up: no answer in %d s", call.id, limit)
                await mitm.give_up(flow, "no answer in time")

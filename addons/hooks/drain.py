"""Reads the answers of clients that have left on to their end, for the usage (``llm_on_abort=drain``).

The usage of a stream stands at its end, and upstream bills what it has generated. Each drain is bounded in
time, and so is their number; beyond it a call is cancelled as if the option were not set.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field

from mitmproxy import connection, http
from mitmproxy.addonmanager import Loader

from addons.flow import flow_metadata
from addons.flow.call import open_calls
from addons.mitm import internals as mitm
from addons.openai.answers.endings import ends_finished
from addons.openai.endpoints import resolve
from addons.runtime import Runtime

logger = logging.getLogger(__name__)

LONGEST_LAST = 4 * 2**20
"""Bytes of a stream's last event: Responses repeat the whole answer in it."""


@dataclass(slots=True)
class DrainedAnswer:
    """Holds one answer that is read on."""

    client: connection.Client
    until: float
    """Monotonic seconds."""
    over: asyncio.Event = field(default_factory=asyncio.Event)


under_way: dict[str, DrainedAnswer] = {}
"""By flow id. Module state, so that a reload of the script does not forget them."""


class Drain:
    """Decides which answers are read on, and keeps their upstream connections meanwhile."""

    name = "llmproxy-drains"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def load(self, _: Loader) -> None:
        mitm.on_client_left(self.keep)

    def keep(self, flow: http.HTTPFlow) -> float | None:
        """Give the seconds for which the answer of `flow` is read on; None to leave it. Never raises."""
        try:
            return self._keep(flow)
        except Exception:
            logger.exception("llmproxy: a call whose client left is cancelled: it could not be read on")
            return None

    def _keep(self, flow: http.HTTPFlow) -> float | None:
        settings = self.runtime.settings
        call = open_calls.get(flow.id)
        if settings.on_abort != "drain" or call is None or call.refused or self.runtime.services is None:
            return None
        if flow_metadata.CLEARED not in flow.metadata or call.usage_declined or flow.websocket:
            return None
        if resolve(call.method, call.url.partition("?")[0]).risk != "inference":
            return None
        if call.capture is not None and ends_finished(call.capture.end(LONGEST_LAST)):
            return None  # nothing is left to read
        if len(under_way) >= settings.drain_calls:
            logger.warning(
                "llmproxy: %d answers are read on already; call %s is cancelled (option llm_drain_calls)",
                len(under_way),
                call.id,
            )
            return None
        call.left = True
        seconds = float(settings.drain_seconds)
        under_way[flow.id] = DrainedAnswer(flow.client_conn, time.monotonic() + seconds)
        return seconds

    async def client_disconnected(self, client: connection.Client) -> None:
        """Wait for what is read on: mitmproxy closes the client's upstream connections when this returns."""
        for drain in [drain for drain in under_way.values() if drain.client is client]:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(drain.over.wait(), max(0.0, drain.until - time.monotonic()))


def end(flow_id: str) -> None:
    """Note that the call is over, however it ended."""
    if drain := under_way.pop(flow_id, None):
        drain.over.set()

"""End in order on SIGTERM: listen no more, let the answers under way end, then stop.

A second SIGTERM, or SIGINT, stops at once. mitmproxy itself cuts everything within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time

from mitmproxy import ctx, http

from addons.flow import errors
from addons.flow.call import open_calls
from addons.flow.fail_closed import observe_only
from addons.hooks.websockets import session
from addons.mitm import internals as mitm
from addons.mitm.connections import client_connections
from addons.runtime import Runtime
from store.core.systemd import notify

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
CLOSE_SECONDS = 2.0
"""It says how long the last sessions have to close, and the last bytes to leave."""


class Shutdown:
    """Owns the process's SIGTERM."""

    name = "llmproxy-shutdown"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._task: asyncio.Task[None] | None = None
        """Set from the first SIGTERM on."""

    def running(self) -> None:
        # Not on a platform, or in a thread, without signals: mitmproxy's own way is left then.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.begin)

    def begin(self) -> None:
        """Stop listening, and stop the process once nothing is under way, or the grace is over."""
        if self._task is not None or self.runtime.services is None:
            ctx.master.shutdown()
            return
        notify("STOPPING=1")
        grace = self.runtime.settings.shutdown_grace
        if open_calls:
            logger.warning(
                "llmproxy: stopping; %d calls under way have %d s to end (option llm_shutdown_grace)",
                len(open_calls),
                grace,
            )
        ctx.options.update(server=False)
        self._task = asyncio.get_running_loop().create_task(self._stop(grace))

    @observe_only
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Have clients of HTTP/1.1 take another connection, to whoever listens now."""
        if self._task is None or flow.response is None or flow.response.status_code == 101:
            return
        if flow.request.http_version == "HTTP/1.1":
            flow.response.headers["connection"] = "close"

    async def _stop(self, grace: float) -> None:
        try:
            deadline = time.monotonic() + grace
            while (open_calls or self._lingers()) and time.monotonic() < deadline:
                _close_sessions(only_idle=True)
                await asyncio.sleep(LOOK_SECONDS)
            _close_sessions(only_idle=False)
            for _ in range(round(CLOSE_SECONDS / LOOK_SECONDS)):
                if not session.open_sessions and not mitm.unsent_bytes():
                    break
                await asyncio.sleep(LOOK_SECONDS)
            if open_calls:
                logger.warning("llmproxy: %d calls are cut by the end of the proxy", len(open_calls))
        except Exception:
            logger.exception("llmproxy: the proxy ends at once")
        finally:
            ctx.master.shutdown()

    def _lingers(self) -> bool:
        """Tell whether a client that has just used its connection may do so again, not knowing of the end."""
        linger = self.runtime.settings.shutdown_linger
        return linger > 0 and any(one.quiet_seconds < linger for one in client_connections())


def _close_sessions(*, only_idle: bool) -> None:
    for each in list(session.open_sessions.values()):
        if each.turns.idle or not only_idle:
            session.close(each, errors.STOPPING, 1001)

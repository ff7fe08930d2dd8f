"""Report to systemd that the proxy serves, and that its event loop still goes round (sd_notify, watchdog)."""

from __future__ import annotations

import asyncio

from addons.runtime import Runtime
from store.core.systemd import notify, watchdog_seconds


class Liveness:
    """Does nothing where systemd did not start the proxy."""

    name = "llmproxy-liveness"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._task: asyncio.Task[None] | None = None

    def running(self) -> None:
        """Report that mitmproxy listens by now. A start that was refused is never reported as ready."""
        if self._runtime.refused or self._runtime.services is None:
            return
        notify("READY=1")
        if (seconds := watchdog_seconds()) is not None:
            self._task = asyncio.get_running_loop().create_task(self._beat(seconds))

    def done(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        notify("STOPPING=1")

    async def _beat(self, seconds: float) -> None:
        """Give signs of life from the loop itself: when a hook blocks it, none goes out."""
        while True:
            notify("WATCHDOG=1")
            await asyncio.sleep(seconds)

"""Run one thread that does the same thing again and again, until it is closed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class PeriodicThread:
    """Calls `work` every so often. What it raises is logged, and it is called again: the thread goes on.

    The thread starts with :meth:`start`, once all that `work` needs is there.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        *,
        pause: Callable[[], float],
        first: float = 0.0,
        end: Callable[[], object] = lambda: None,
    ) -> None:
        """Call `work` after `first` seconds, then each time `pause()` seconds after it has returned.

        `end` runs in the thread after the last time.
        """
        self._name, self._work, self._pause, self._first, self._end = name, work, pause, first, end
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def closing(self) -> bool:
        """Tell whether the end has been asked for."""
        return self._closing.is_set()

    def close(self, seconds: float | None = None) -> bool:
        """Have no other look begun, and wait for the one under way. False where `seconds` are not enough."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = self._first
        while not self._closing.wait(pause):
            self._call(self._work)
            pause = self._pause()
        self._call(self._end)

    def _call(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            logger.exception("llmproxy: the thread %s goes on after an error", self._name)

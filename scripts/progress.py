"""Show one line of progress on a terminal; nothing in a pipe."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping

from rich.console import Console
from rich.logging import RichHandler
from rich.status import Status

from dispatch.delivery import Totals

WINDOW_SECONDS = 5.0
"""Over which the rate is taken."""


class ProgressLine:
    """Shows how far each sink is. A context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._status: Status | None = None
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def __enter__(self) -> ProgressLine:
        if self._console.is_terminal:
            self._status = self._console.status("reading the spool ...")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def update(self, totals: Mapping[str, Totals]) -> None:
        """Show the totals of each sink."""
        if self._status is not None:
            self._status.update("  ".join(self.text(name, of) for name, of in list(totals.items())))

    def text(self, name: str, totals: Totals) -> str:
        """Write such as ``file: 1,200 sent, 300/s, lag 2 s, 0.1 MB left, 0 retries, 0 dead letters``."""
        lag = totals.lag(time.time())
        return (
            f"{name}: {totals.sent:,} sent, {self._rate(name, totals.sent):,.0f}/s, lag {lag:,.0f} s, "
            f"{totals.backlog / 2**20:,.1f} MB left, {totals.retries:,} retries, {totals.dead:,} dead letters"
        )

    def log_handler(self) -> logging.Handler:
        """Show warnings above the line on a terminal, plain lines on stderr in a pipe."""
        if not self._console.is_terminal:
            return logging.StreamHandler()
        return RichHandler(console=self._console, show_path=False, show_level=False)

    def _rate(self, name: str, sent: int) -> float:
        """Give the events per second, lately."""
        now = time.monotonic()
        seen = self._seen.setdefault(name, deque([(now, sent)]))
        seen.append((now, sent))
        while len(seen) > 2 and now - seen[0][0] > WINDOW_SECONDS:
            seen.popleft()
        return (sent - seen[0][1]) / max(now - seen[0][0], 0.001)

"""One line of progress on a terminal; nothing in a pipe."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.logging import RichHandler
from rich.status import Status

from dispatch.delivery import Totals


class ProgressLine:
    """Shows how far the dispatcher is. A context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._status: Status | None = None

    def __enter__(self) -> ProgressLine:
        if self._console.is_terminal:
            self._status = self._console.status("reading the spool ...")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def update(self, totals: Totals, backlog: int) -> None:
        """`backlog`: bytes that are left in the spool."""
        if self._status is not None:
            rate = totals.sent / max(totals.seconds, 0.001)
            aside = f", {totals.dead} put aside" if totals.dead else ""
            self._status.update(
                f"{totals.sent:,} events sent{aside}, {backlog / 2**20:,.1f} MB left, {rate:,.0f} events/s"
            )

    def log_handler(self) -> logging.Handler:
        """Warnings above the line on a terminal, plain lines on stderr in a pipe."""
        if not self._console.is_terminal:
            return logging.StreamHandler()
        return RichHandler(console=self._console, show_path=False, show_level=False)

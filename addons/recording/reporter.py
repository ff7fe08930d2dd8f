"""Write what this process has done into its status file, every few seconds, in the reporter thread."""

from __future__ import annotations

import logging
import os
import platform
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from mitmproxy.version import VERSION

from addons.recording.group import group
from store.core.periodic_thread import PeriodicThread
from store.core.times import rfc3339
from store.core.version import llmproxy_version
from store.spool.status_files import StatusFile

logger = logging.getLogger(__name__)

SECONDS = 3.0
"""Between two reports. What is shown is at most this old, while the proxy lives."""
STARTING_SECONDS = 0.1
STARTING_REPORTS = 100
"""Reports come as fast until the listeners are open, so many times at most: `scripts/up` waits for that."""


def process_facts(writer: str) -> dict[str, Any]:
    """Give what does not change while the process lives."""
    return {
        "version": 1,
        "writer": writer,
        "pid": os.getpid(),
        "group": group(),
        "supervisor": os.getppid() if group() else None,
        "host": socket.gethostname(),
        "started_at": rfc3339(datetime.now(UTC)),
        "llmproxy": llmproxy_version(),
        "mitmproxy": VERSION,
        "python": platform.python_version(),
    }


class Reporter:
    """Owns the status file. A report that can't be written is tried again with the next one."""

    def __init__(self, file: StatusFile, writer: str, figures: Callable[[], Mapping[str, Any]]) -> None:
        self._file = file
        self._facts = process_facts(writer)
        self._figures = figures
        self._failing = False
        self._starting = STARTING_REPORTS
        self._listeners: object = None
        self._thread = PeriodicThread(
            "llmproxy-reporter", self._report, pause=self._pause, end=self._report_end
        )
        self._thread.start()

    def close(self) -> None:
        """Report a last time; call it when nothing is recorded any more."""
        self._thread.close(10)

    def _report_end(self) -> None:
        self._report(ended=True)
        self._file.close()

    def _pause(self) -> float:
        return STARTING_SECONDS if self._starting else SECONDS

    def _report(self, *, ended: bool = False) -> None:
        now = rfc3339(datetime.now(UTC))
        self._facts |= {"updated_at": now, "ended_at": now if ended else None}
        try:
            figures = self._figures()
            listeners, before = figures.get("listeners"), self._listeners
            self._listeners = listeners
            # One opens after the other: all are told once a report has none that is new.
            self._starting = 0 if listeners and listeners == before else max(0, self._starting - 1)
            self._file.write({**self._facts, **figures})
            self._failing = False
        except Exception as error:  # the proxy goes on without its status
            if not self._failing:
                self._failing = True
                logger.warning("llmproxy: the status file could not be written: %s", error)

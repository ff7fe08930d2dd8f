"""The reporter thread: writes what this process has done into its status file, every few seconds."""

from __future__ import annotations

import logging
import os
import platform
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mitmproxy.version import VERSION

from store.models import rfc3339
from store.status import StatusFile

logger = logging.getLogger(__name__)

SECONDS = 3.0
"""Between two reports. What is shown is at most this old, while the proxy lives."""


def llmproxy_version() -> str:
    """The installed version; `source` where the script runs from a checkout that is not installed."""
    try:
        return version("llmproxy")
    except PackageNotFoundError:
        return "source"


def process_facts(writer: str) -> dict[str, Any]:
    """What does not change while the process lives."""
    return {
        "version": 1,
        "writer": writer,
        "pid": os.getpid(),
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
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llmproxy-reporter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Report a last time; call it when nothing is recorded any more."""
        self._ended.set()
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            ended = self._ended.wait(0 if not self._facts.get("updated_at") else SECONDS)
            self._report(ended=ended)
            if ended:
                self._file.close()
                return

    def _report(self, *, ended: bool) -> None:
        now = rfc3339(datetime.now(UTC))
        self._facts |= {"updated_at": now, "ended_at": now if ended else None}
        try:
            self._file.write({**self._facts, **self._figures()})
            self._failing = False
        except Exception as error:  # the proxy goes on without its status
            if not self._failing:
                self._failing = True
                logger.warning("llmproxy: the status file could not be written: %s", error)

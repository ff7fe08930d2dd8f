"""End when the process that started this one is gone, however it went."""

from __future__ import annotations

import os
import signal
import threading

LIFELINE = "LLMPROXY_LIFELINE"
"""The descriptor of a pipe that its starter holds open: its end is the end of the starter."""


def watch_starter() -> None:
    """End in order, as by SIGTERM, once the starter is gone."""
    threading.Thread(target=_watch, args=[int(os.environ.pop(LIFELINE))], daemon=True).start()


def _watch(descriptor: int) -> None:
    os.set_inheritable(descriptor, False)
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)

"""Ends the processes of ``scripts/up`` when it is gone, however it went.

Runs as a process of its own and reads lines from standard input, a pipe that only its parent holds open:
``watch PID`` adds a process, ``release`` forgets all. At the end of the pipe the watched processes get
SIGTERM in the order in which they were named, each with time to finish, then SIGKILL. So nothing is left
running even after the parent was killed, and the proxy still writes what it had queued.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

PATIENCE = 15.0
"""Seconds that one process has between SIGTERM and SIGKILL."""


def main() -> None:
    """Watch until the pipe ends."""
    pids: list[int] = []
    for line in sys.stdin:
        word, _, argument = line.strip().partition(" ")
        if word == "watch":
            pids.append(int(argument))
        elif word == "release":
            pids.clear()
    for pid in pids:
        _end(pid)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()

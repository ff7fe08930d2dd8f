"""Ends statements whose server does not answer any more.

libpq waits for ever where the network swallows what was sent. Its socket is shut down then, so that it finds
the connection lost.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

LOOK_SECONDS = 0.25


class Watchdog:
    """Runs one thread for all connections of an engine, while there is something to watch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadlines: dict[int, float] = {}
        """By file descriptor, in monotonic seconds."""
        self._running = False

    @contextlib.contextmanager
    def limit(self, descriptor: int, seconds: float) -> Iterator[None]:
        """Shut the socket down if the block takes longer."""
        with self._lock:
            self._deadlines[descriptor] = time.monotonic() + seconds
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="llmproxy-store-watchdog", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._deadlines.pop(descriptor, None)

    def _run(self) -> None:
        idle_since = time.monotonic()
        while True:
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()
            # Under the lock: what is listed has not been closed, so its number is not another file's yet.
            with self._lock:
                for descriptor in [d for d, deadline in self._deadlines.items() if deadline <= now]:
                    del self._deadlines[descriptor]
                    _shut_down(descriptor)
                if self._deadlines:
                    idle_since = now
                elif now - idle_since > 60:
                    self._running = False
                    return


def _shut_down(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        copy = socket.socket(fileno=os.dup(descriptor))
        try:
            copy.shutdown(socket.SHUT_RDWR)
        finally:
            copy.close()

"""Hear the signs of life that a proxy's event loop gives, as systemd's watchdog would (sd_notify)."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path


class Pulse:
    """Is the socket to which one proxy reports."""

    def __init__(self, place: Path, seconds: float) -> None:
        """Listen at `place`; the proxy is to report at least every `seconds`."""
        self._place, self._seconds = place, seconds
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(place))
        self._socket.setblocking(False)
        self._heard: float | None = None

    def environment(self) -> dict[str, str]:
        """Give what makes the proxy report here."""
        return {"NOTIFY_SOCKET": str(self._place), "WATCHDOG_USEC": str(int(self._seconds * 1_000_000))}

    def has_stopped(self) -> bool:
        """Tell whether nothing came for too long. One that has not begun to report is still starting."""
        with contextlib.suppress(BlockingIOError):
            while message := self._socket.recv(64):
                if message == b"WATCHDOG=1":
                    self._heard = time.monotonic()
                elif message == b"STOPPING=1":
                    self._heard = None
        return self._heard is not None and time.monotonic() - self._heard > self._seconds

    def close(self) -> None:
        self._socket.close()
        self._place.unlink(missing_ok=True)

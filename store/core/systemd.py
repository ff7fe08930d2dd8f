"""Talk to systemd, where it started us: sd_notify(3) is one datagram to the socket in NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import socket
import time


def notify(message: str) -> None:
    """Send ``READY=1``, ``WATCHDOG=1``, ``STOPPING=1``. Does nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in {"/", "@"}:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        channel.sendto(message.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


def watchdog_seconds() -> float | None:
    """Give half of the seconds within which systemd expects a sign of life; None where it expects none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 2_000_000
    except (KeyError, ValueError):
        return None


class Heartbeat:
    """Gives signs of life, for a loop that calls :meth:`beat` as often as it likes."""

    def __init__(self) -> None:
        self._every = watchdog_seconds()
        self._last = time.monotonic()

    def ready(self) -> None:
        notify("READY=1")

    def beat(self) -> None:
        """Tell the watchdog that the loop goes round, when it is time to."""
        if self._every is not None and time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            notify("WATCHDOG=1")

    def stopping(self) -> None:
        notify("STOPPING=1")

"""Run the processes that read finished calls for all proxies of ``llmproxy serve``."""

from __future__ import annotations

import os
import select
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from addons.recording.reading.readers import VARIABLE
from scripts.client.processes import OF_THE_STORE, python_module
from scripts.serving.child import Child

BACKLOG = 1024
"""Messages that may wait: each proxy has one at a time."""
END_SECONDS = 5.0


class SharedReaders:
    """Is the socket at which proxies find them; they are started when first somebody comes.

    The socket stays open whatever becomes of them, so that messages wait until others are there. They end
    with the last process that holds the pipe of their users: each proxy does, and this one until
    :meth:`retire`.
    """

    def __init__(
        self, place: Path, proxies: int, environment: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        """Listen at `place`, a file in a folder that only this user may enter."""
        self._place, self._say = place, say
        self._count = count_for(proxies, len(os.sched_getaffinity(0)))
        self._environment = {name: value for name, value in environment.items() if name not in OF_THE_STORE}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(place))
        self._socket.listen(BACKLOG)
        self._users, self.held_open = os.pipe()
        self._retired = False
        self._child: Child | None = None

    def environment(self) -> dict[str, str]:
        """Give what tells a proxy where they are."""
        return {VARIABLE: str(self._place)}

    def look(self) -> None:
        """Start them once a proxy has come, and again when they have ended."""
        if self._child is not None:
            if not self.ended:
                self._child.revive(self._say)
        elif _is_ready(self._socket.fileno()):
            self._child = Child("pool of reading processes", self._launch, self._launch())

    def _launch(self) -> subprocess.Popen[bytes]:
        arguments = (str(self._socket.fileno()), str(self._users), str(self._count))
        return subprocess.Popen(  # noqa: S603 - our own command
            python_module("addons.recording.reading.pool", *arguments),
            stdin=subprocess.DEVNULL,
            env=self._environment,
            pass_fds=[self._socket.fileno(), self._users],
            start_new_session=True,
        )

    def retire(self) -> None:
        """Leave them to the proxies that use them."""
        self._retired = True
        os.close(self.held_open)

    @property
    def ended(self) -> bool:
        """Tell whether the last of their users is gone, and they are."""
        running = self._child is not None and self._child.popen.poll() is None
        return self._retired and not running and _is_ready(self._users)

    def close(self) -> None:
        """End them; whoever used them is gone."""
        if not self._retired:
            self.retire()
        if self._child is not None:
            try:
                self._child.popen.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.popen.kill()
                self._child.popen.wait()
        self._socket.close()
        os.close(self._users)
        self._place.unlink(missing_ok=True)


def count_for(proxies: int, cores: int) -> int:
    """Give how many there are to be: a call that takes long keeps one, and there is another."""
    return max(2, min(proxies, cores) // 2)


def _is_ready(descriptor: int) -> bool:
    """Tell whether a connection waits at a socket, or a pipe has come to its end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))

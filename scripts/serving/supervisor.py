"""Keeps the proxies of ``llmproxy serve`` running: starts, replaces and ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from addons.mitm.listeners import VARIABLE as LISTENERS
from addons.recording.group import VARIABLE as GROUP
from scripts.client.processes import OF_THE_PROXY, python_module
from scripts.client.proxy_process import START_SECONDS, StartFailed
from scripts.serving.child import Child
from scripts.serving.lifeline import LIFELINE
from scripts.serving.pulse import Pulse
from scripts.serving.readers import SharedReaders
from scripts.serving.sockets import Address
from store.core.systemd import Heartbeat
from store.spool.status_files import read_all

SYSTEMD = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
LOOK_SECONDS = 0.1
STOP_SECONDS = 75.0
"""For calls to end (llm_shutdown_grace, 30 s by default) and their events to be written."""
DISPATCHER_STOP_SECONDS = 40.0


class Supervisor:
    """Works in one thread, that of :meth:`run`. SIGHUP replaces the proxies, SIGTERM and SIGINT end all."""

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        arguments: Sequence[str],
        addresses: Sequence[Address],
        spool: Path,
        *,
        count: int,
        dispatcher: Sequence[str] | None,
        hang_seconds: float,
        environment: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        """Take the `arguments` of mitmdump, of which `count` listen on the sockets of `addresses`.

        One whose event loop stands still for `hang_seconds` is killed, and started again; 0: none is.
        `environment` of all that is started; what systemd says to this process is left out.
        """
        self._arguments, self._addresses, self._spool = list(arguments), list(addresses), spool
        self._count, self._dispatch, self._say = count, dispatcher, say
        self._environment = {name: value for name, value in environment.items() if name not in SYSTEMD}
        self._group = uuid.uuid4().hex
        self._hang_seconds = hang_seconds
        self._folder = tempfile.TemporaryDirectory(prefix="llmproxy-")
        self._pulses: dict[int, Pulse] = {}
        """By the pid of the proxy that reports there."""
        self._readers = self._new_readers()
        self._old_readers: list[SharedReaders] = []
        """Those of proxies that were replaced, and end with the last of these."""
        self._lifeline, self._held_open = os.pipe()
        self._proxies: list[Child] = []
        self._leaving: list[subprocess.Popen[bytes]] = []
        self._dispatcher: Child | None = None
        self._to_replace: list[int] = []
        """Places whose proxies are still to be replaced."""
        self._replacement: tuple[int, subprocess.Popen[bytes], float] | None = None
        self.stopping = threading.Event()
        self.replacing = threading.Event()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises StartFailed, before which all that was started is ended."""
        heart = Heartbeat()
        try:
            self._start()
            heart.ready()
            while not self.stopping.wait(LOOK_SECONDS):
                heart.beat()
                self._look()
            heart.stopping()
        finally:
            self._end()

    def _start(self) -> None:
        """Start the first proxy, which makes what is not there yet (the CA), then the others."""
        for numbers in ([0], range(1, self._count)):
            started = [self._place(number) for number in numbers]
            self._proxies += started
            deadline = time.monotonic() + START_SECONDS
            while not all(self._is_serving(one.popen) for one in started):
                if self.stopping.wait(LOOK_SECONDS):
                    return
                self._readers.look()
                if any(one.popen.poll() is not None for one in started):
                    raise StartFailed("a proxy ended at once; what it said is above.")
                if time.monotonic() > deadline:
                    raise StartFailed(f"the proxies do not serve after {START_SECONDS:.0f} s.")
        if self._dispatch is not None:
            self._dispatcher = Child("dispatcher", self._launch_dispatcher, self._launch_dispatcher())

    def _place(self, number: int) -> Child:
        return Child(f"proxy {number + 1}", lambda: self._launch(number), self._launch(number))

    def _launch(self, number: int) -> subprocess.Popen[bytes]:
        """Start a proxy on the sockets of its place."""
        handed = {each.key: each.of(number).fileno() for each in self._addresses}
        pulse = self._new_pulse()
        environment = {
            **self._environment,
            **(pulse.environment() if pulse else {}),
            LISTENERS: " ".join(f"{key}={descriptor}" for key, descriptor in handed.items()),
            **self._readers.environment(),
            LIFELINE: str(self._lifeline),
            GROUP: self._group,
        }
        popen = subprocess.Popen(  # noqa: S603 - our own command
            python_module("scripts.serving.worker", *self._arguments),
            stdin=subprocess.DEVNULL,
            env=environment,
            pass_fds=[self._lifeline, self._readers.held_open, *handed.values()],
            start_new_session=True,  # Ctrl-C in a terminal reaches the supervisor only
        )
        if pulse is not None:
            self._pulses[popen.pid] = pulse
        return popen

    def _new_pulse(self) -> Pulse | None:
        if not self._hang_seconds:
            return None
        return Pulse(Path(self._folder.name) / uuid.uuid4().hex[:12], self._hang_seconds)

    def _new_readers(self) -> SharedReaders:
        place = Path(self._folder.name) / uuid.uuid4().hex[:12]
        return SharedReaders(place, self._count, self._environment, self._say)

    def _launch_dispatcher(self) -> subprocess.Popen[bytes]:
        assert self._dispatch is not None
        environment = {name: value for name, value in self._environment.items() if name not in OF_THE_PROXY}
        return subprocess.Popen(  # noqa: S603 - our own command
            self._dispatch,
            stdin=subprocess.DEVNULL,
            env={**environment, LIFELINE: str(self._lifeline)},
            pass_fds=[self._lifeline],
            start_new_session=True,
        )

    def _is_serving(self, popen: subprocess.Popen[bytes]) -> bool:
        return any(
            status.alive and status.value.get("pid") == popen.pid and status.value.get("listeners")
            for status in read_all(self._spool)
        )

    def _look(self) -> None:
        self._leaving = [one for one in self._leaving if one.poll() is None]
        self._kill_hanging()
        for child in (*self._proxies, *([self._dispatcher] if self._dispatcher else [])):
            child.revive(self._say)
        self._look_at_readers()
        if self.replacing.is_set() and not self._to_replace and self._replacement is None:
            self.replacing.clear()
            self._to_replace = list(range(self._count))
            self._say("replacing the proxies, one after the other.")
            # New proxies may be of a new version, and what they say to who reads for them, too.
            self._old_readers.append(self._readers)
            self._readers.retire()
            self._readers = self._new_readers()
        self._replace()

    def _look_at_readers(self) -> None:
        for readers in (*self._old_readers, self._readers):
            readers.look()
        for readers in [one for one in self._old_readers if one.ended]:
            self._old_readers.remove(readers)
            readers.close()

    def _kill_hanging(self) -> None:
        """Kill proxies whose event loop stands still: they accept connections, and answer none."""
        known = [child.popen for child in self._proxies] + self._leaving
        known += [self._replacement[1]] if self._replacement else []
        for popen in known:
            pulse = self._pulses.get(popen.pid)
            if pulse is not None and popen.poll() is None and pulse.has_stopped():
                self._say(
                    f"a proxy (pid {popen.pid}) has not moved for {self._hang_seconds:g} s; it is killed."
                )
                popen.kill()
                popen.wait()
        running = {popen.pid for popen in known if popen.poll() is None}
        for pid in self._pulses.keys() - running:
            self._pulses.pop(pid).close()

    def _replace(self) -> None:
        """Go on with a replacement: the new proxy serves before the old one stops to accept connections."""
        if self._replacement is None:
            if self._to_replace:
                number = self._to_replace.pop(0)
                self._replacement = number, self._launch(number), time.monotonic()
            return
        number, popen, began = self._replacement
        if self._is_serving(popen):
            old = self._proxies[number]
            if old.popen.poll() is None:
                old.popen.terminate()
                self._leaving.append(old.popen)
            old.popen, old.began, old.due = popen, began, None
            self._replacement = None
            if not self._to_replace:
                self._say("all proxies are replaced.")
        elif popen.poll() is not None or time.monotonic() - began > START_SECONDS:
            if popen.poll() is None:
                popen.kill()
                popen.wait()
            self._replacement, self._to_replace = None, []
            self._say("a new proxy does not serve; those that run go on, and none is replaced.")

    def _end(self) -> None:
        """End the proxies, then the dispatcher, which sends what they wrote last."""
        proxies = [*self._leaving, *(child.popen for child in self._proxies)]
        proxies += [self._replacement[1]] if self._replacement else []
        _end_all(proxies, STOP_SECONDS)
        if self._dispatcher is not None:
            _end_all([self._dispatcher.popen], DISPATCHER_STOP_SECONDS)
        os.close(self._held_open)
        os.close(self._lifeline)
        for readers in (*self._old_readers, self._readers):
            readers.close()
        for pulse in self._pulses.values():
            pulse.close()
        self._folder.cleanup()


def _end_all(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """Send SIGTERM, then SIGKILL to those that have not ended in time."""
    for each in processes:
        if each.poll() is None:
            each.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + seconds
    for each in processes:
        try:
            each.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()

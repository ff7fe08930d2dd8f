"""Start the processes of ``scripts/up``: each with a log, all ended with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from store.database import location
from store.keys import master_key

OF_THE_PROXY = (master_key.VARIABLE, "LLMPROXY_MANAGEMENT_TOKEN")
"""Variables that may hold a secret which only the proxy needs."""
OF_THE_STORE = (*OF_THE_PROXY, location.VARIABLE)
"""These, and what may hold the password of the store's server."""

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def python_module(name: str, *arguments: str) -> list[str]:
    """Give the command that runs a module of ours with this Python, whatever folder we are in."""
    return [sys.executable, "-P", "-m", "llmproxy.module", name, *arguments]


@dataclass(slots=True)
class Process:
    """Is a running child."""

    name: str
    log: Path
    popen: subprocess.Popen[bytes]

    @property
    def ended(self) -> bool:
        return self.popen.poll() is not None

    def output(self) -> str:
        return ANSI.sub("", self.log.read_text(encoding="utf-8", errors="replace"))

    def last_lines(self, count: int = 5) -> list[str]:
        return [line for line in self.output().splitlines() if line.strip()][-count:]

    def complaint(self) -> str:
        """Give what it said was wrong: our own words where there are any, else its last ones."""
        ours = [
            line.partition("llmproxy: ")[2] for line in self.output().splitlines() if "llmproxy: " in line
        ]
        return " / ".join(ours or self.last_lines(3))

    def stop(self, seconds: float) -> None:
        """Send SIGTERM, then SIGKILL to one that has not ended after `seconds`."""
        if not self.ended:
            self.popen.terminate()
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


class Processes:
    """Starts children; a guard (:mod:`scripts.client.guard`) ends them should this process be killed."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        """Take as `logs` the folder of the log files, which begin anew; `environment` is of every child."""
        self._logs = logs
        self._environment = {**environment, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
        self.running: list[Process] = []
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._guard = subprocess.Popen(  # noqa: S603 - our own command
            python_module("scripts.client.guard"),
            stdin=subprocess.PIPE,
            env=self._without(OF_THE_STORE),
            start_new_session=True,
        )

    def start(self, name: str, command: Sequence[str], *, without: Sequence[str] = ()) -> Process:
        """Run `command` with its output in ``NAME.log``, without some of the variables.

        It gets a session of its own: Ctrl-C in the terminal reaches this process only, which then ends the
        others in the right order.
        """
        log = self._logs / f"{name}.log"
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            popen = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=subprocess.STDOUT,
                env=self._without(without),
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        self._tell_guard(f"watch {popen.pid}")
        process = Process(name, log, popen)
        self.running.append(process)
        return process

    def _without(self, names: Sequence[str]) -> dict[str, str]:
        return {name: value for name, value in self._environment.items() if name not in names}

    def ended(self) -> Process | None:
        """Give a child that ended without being asked to."""
        return next((process for process in self.running if process.ended), None)

    def stop(self, process: Process, seconds: float) -> None:
        self.running.remove(process)
        process.stop(seconds)

    def close(self) -> None:
        """End what still runs, at once, and the guard."""
        for process in self.running:
            process.kill()
        self.running.clear()
        self._tell_guard("release")
        assert self._guard.stdin
        self._guard.stdin.close()
        self._guard.wait()

    def _tell_guard(self, line: str) -> None:
        assert self._guard.stdin
        self._guard.stdin.write(f"{line}\n".encode())
        self._guard.stdin.flush()

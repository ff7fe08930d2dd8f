"""Run the processes that are killed: a proxy and a dispatcher."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}
PATIENCE = 60.0


def environment() -> dict[str, str]:
    """Give an environment into which nothing of this shell's own settings gets."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "DISPATCHER_", "LLMPROXY_"))}
    return kept | AWS


class Proxy:
    """Stands in for a proxy (see :mod:`scripts.benchmarks.faults.proxy`)."""

    def __init__(self, spool: Path, seed: int, clock: float, accepted: set[str]) -> None:
        """Add the calls that go upstream to `accepted`."""
        arguments = [str(spool), str(seed), str(clock)]
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "scripts.benchmarks.faults.proxy", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._accepted = accepted
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.endswith("\n"):
                self._accepted.add(line.strip())

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def stop(self) -> None:
        self.process.terminate()
        self._end()

    def _end(self) -> None:
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)

    def limit_files(self, size: int) -> None:
        """Let no file of the process grow beyond `size`: a disk that is full. -1 makes room again."""
        _, hard = psutil.Process(self.process.pid).rlimit(psutil.RLIMIT_FSIZE)
        psutil.Process(self.process.pid).rlimit(psutil.RLIMIT_FSIZE, (size, hard))


def command(spool: Path, verb: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "scripts.cli", "--spool", str(spool), verb, *arguments]


def dispatcher(spool: Path, *arguments: str, **settings: Any) -> subprocess.Popen[str]:
    """Give a dispatcher; what it says goes to a pipe only where somebody listens."""
    return subprocess.Popen(  # noqa: S603 - our own command
        command(spool, "dispatch", *arguments),
        env=environment(),
        text=True,
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | settings,
    )

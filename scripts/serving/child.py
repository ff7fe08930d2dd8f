"""Keep one process of ``llmproxy serve`` running."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

SHORT_LIFE = 10.0
"""Seconds: one that ends earlier is started again after a while, and later each time."""
LONGEST_PAUSE = 30.0


@dataclass(slots=True)
class Child:
    """Is a process that runs, or ended and is due to be started again."""

    name: str
    launch: Callable[[], subprocess.Popen[bytes]]
    popen: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)
    failures: int = 0
    """Short lives in a row."""
    due: float | None = None
    """It says when it is started again; None while it runs."""

    def revive(self, say: Callable[[str], None]) -> None:
        """Start it again, now or later, if it has ended."""
        now = time.monotonic()
        if self.due is None and self.popen.poll() is not None:
            self.failures = self.failures + 1 if now - self.began < SHORT_LIFE else 0
            pause = min(LONGEST_PAUSE, 2.0 ** (self.failures - 1)) if self.failures else 0.0
            later = f" in {pause:g} s" if pause else ""
            say(
                f"the {self.name} (pid {self.popen.pid}) ended with {self.popen.returncode}; "
                f"it is started again{later}."
            )
            self.due = now + pause
        if self.due is not None and now >= self.due:
            self.popen, self.began, self.due = self.launch(), now, None

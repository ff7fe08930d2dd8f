"""Real mitmproxy processes, started and stopped by a test."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tests import nursery

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "addons" / "llmproxy.py"
DEFAULTS = os.environ.get("LLMPROXY_TEST_OPTIONS", "llm_workers=thread").split()
"""Options of every proxy that a test does not give others. A reading process for each of some hundred
proxies would take minutes. By hand: LLMPROXY_TEST_OPTIONS="llm_workers=process llm_trim=false"."""
LISTENING = re.compile(r"listening at \S*?:(\d+)")

T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str, seconds: float = 20.0) -> T:
    """The first true value of `condition`; fails the test with `what` when none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class Proxy:
    """One mitmdump (or mitmweb) with a regular and a reverse listener on free ports."""

    folder: Path
    options: Sequence[str] = ()
    scripts: Sequence[Path] = (SCRIPT,)
    program: str = "mitmdump"
    forward: str = "regular"
    """The mode of the first listener."""
    reverse: str | None = "https://api.openai.com"
    environment: dict[str, str] = field(default_factory=dict)
    store_url: str | None = None
    """Of a store on a server, in place of the file."""
    cold: bool = False
    """A process with its own command line, for tests that look at it; it takes seconds longer to start."""
    lines: list[str] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "store.db"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca" / "mitmproxy-ca-cert.pem"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def reverse_url(self) -> str:
        return f"http://127.0.0.2:{self.reverse_port}"

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self._process.pid)

    def command(self) -> list[str]:
        modes = [f"{self.forward}@127.0.0.1:0"]
        if self.reverse:
            # mitmproxy takes two listeners on port 0 of one address for the same; 127/8 is all loopback.
            modes.append(f"reverse:{self.reverse}@127.0.0.2:0")
        settings = [f"confdir={self.folder / 'ca'}", f"llm_spool={self.spool}"]
        given = {setting.partition("=")[0] for setting in self.options}
        settings += [one for one in DEFAULTS if one.partition("=")[0] not in given]
        if self.store_url is None:
            settings += [f"llm_store={self.store}", "llm_store_create=true"]
        return [
            str(Path(sys.executable).parent / self.program),
            *(argument for mode in modes for argument in ("--mode", mode)),
            *(argument for script in self.scripts for argument in ("-s", str(script))),
            *(argument for setting in (*settings, *self.options) for argument in ("--set", setting)),
        ]

    def launch(self) -> None:
        """Start the process, without waiting for its listeners."""
        environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        environment |= {"PYTHONUNBUFFERED": "1", "COLUMNS": "400", **self.environment}
        if self.store_url is not None:
            environment["LLMPROXY_STORE"] = self.store_url
        # Not in the repository: the script must find its packages by itself.
        start = nursery.start_cold if self.cold else nursery.start
        self._process = start(self.command(), env=environment, cwd=self.folder)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    def start(self) -> Proxy:
        self.launch()
        return self.wait_until_listening()

    def wait_until_listening(self) -> Proxy:
        wanted = 2 if self.reverse else 1
        wait_for(lambda: len(self._ports()) >= wanted or self._process.poll() is not None, "listening", 60)
        if self._process.poll() is not None:
            raise AssertionError(f"{self.program} ended with {self._process.returncode}:\n{self.output}")
        ports = self._ports()
        self.port = ports[0]
        if self.reverse:
            self.reverse_port = ports[1]
        return self

    def _ports(self) -> list[int]:
        return [int(match[1]) for line in list(self.lines) if (match := LISTENING.search(line))]

    def wait(self, seconds: float = 60) -> int:
        """The exit code, once the process has ended."""
        code = self._process.wait(seconds)
        self._reader.join(10)
        return code

    def stop(self) -> int:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self.wait(40)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing is closed."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        self._reader.join(10)

    def __enter__(self) -> Proxy:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def records(self) -> list[dict[str, Any]]:
        """Every complete line of the spool, in the order of writer and number."""
        found = []
        for segment in sorted(self.spool.glob("*.jsonl")):
            for line in segment.read_bytes().split(b"\n")[:-1]:
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return sorted(found, key=lambda record: (record["writer"], record.get("seq") or 2**60))

    def calls(self) -> list[dict[str, Any]]:
        return [record for record in self.records() if record["type"] == "llm_proxy_usage"]

    def wait_calls(self, count: int, seconds: float = 20.0) -> list[dict[str, Any]]:
        """The events, once there are at least `count`."""
        try:
            wait_for(lambda: len(self.calls()) >= count, f"{count} events", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; there are {len(self.calls())}\n{self.output[-4000:]}") from None
        return self.calls()

    def wait_call(self, path: str = "", seconds: float = 20.0) -> dict[str, Any]:
        """The newest event, for `path` if given, once there is one."""
        found = wait_for(
            lambda: [call for call in self.calls() if path in call["path"]], f"an event of {path!r}", seconds
        )
        return found[-1]

    def spool_bytes(self) -> int:
        """The size of the largest segment."""
        return max(path.stat().st_size for path in self.spool.glob("*.jsonl"))

    def rss(self) -> int:
        """Resident bytes, without those of files: a fork maps their pages as it comes to them."""
        found = self.process.memory_info()
        return int(found.rss - getattr(found, "shared", 0))

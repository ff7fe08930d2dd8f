"""Run a proxy of our own: its command line, and a short-lived one for a single program."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from scripts.client import trust
from scripts.client.client_environment import WayIn
from scripts.client.processes import Process, Processes, python_module
from scripts.quickstart.first_call import HOST
from store.database.location import VARIABLE, StoreLocation
from store.spool.status_files import read_all

SCRIPT = Path(__file__).resolve().parents[2] / "addons" / "llmproxy.py"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
GRACE = 5
"""Seconds that calls have to end: who ends it waits at the terminal, and guards have little patience."""


class StartFailed(Exception):
    """Something did not start; the text names it and the remedy."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Says what a proxy keeps, and where it listens; on this machine only."""

    store: StoreLocation
    spool: Path
    authority: Path
    """mitmproxy's `confdir`: the proxy's certificate authority."""
    port: int
    reverse_port: int
    web_port: int | None = None
    """None: mitmdump."""
    options: Sequence[str] = ()
    """More of mitmproxy's options, as NAME=VALUE."""
    workers: int = 1
    """Proxies behind these ports; more than one are those of ``llmproxy serve``."""


def command(listening: Listening) -> list[str]:
    """Give the command line of mitmdump, of mitmweb, or of ``llmproxy serve``."""
    if listening.workers > 1:
        return _serve_command(listening)
    options = [
        f"confdir={listening.authority}",
        f"llm_store={listening.store}",  # without its password, which is in the environment
        f"llm_spool={listening.spool}",
    ]
    if not _names(listening.options, "llm_shutdown_grace"):
        options.append(f"llm_shutdown_grace={GRACE}")
    if listening.web_port:
        options += ["web_host=127.0.0.1", f"web_port={listening.web_port}", "web_open_browser=false"]
    else:
        options.append("flow_detail=0")  # the events tell; the log would only grow
    return [
        str(Path(sys.executable).parent / ("mitmweb" if listening.web_port else "mitmdump")),
        *("--mode", f"regular@127.0.0.1:{listening.port}"),
        *("--mode", f"reverse:https://{HOST}@127.0.0.1:{listening.reverse_port}"),
        *("-s", str(SCRIPT)),
        *(argument for option in (*options, *listening.options) for argument in ("--set", option)),
    ]


def _names(options: Sequence[str], name: str) -> bool:
    """Tell whether one of `options` is the option `name`."""
    return any(option.startswith(f"{name}=") for option in options)


def _serve_command(listening: Listening) -> list[str]:
    options = list(listening.options)
    if not _names(options, "llm_shutdown_grace"):
        options.append(f"llm_shutdown_grace={GRACE}")
    return [
        *python_module("scripts.cli", "--store", str(listening.store), "--spool", str(listening.spool)),
        *("serve", "--workers", str(listening.workers), "--ca", str(listening.authority)),
        *("--listen", f"127.0.0.1:{listening.port}"),
        *("--listen-reverse", f"127.0.0.1:{listening.reverse_port}", "--upstream", f"https://{HOST}"),
        *("--", *(argument for option in options for argument in ("--set", option))),
    ]


def pick_port(port: int, option: str) -> int:
    """Give `port` if it can be listened on, any free one for 0. Raises StartFailed."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StartFailed(
                f"port {port} can't be listened on ({error.strerror}); choose another with {option}."
            ) from error
        return int(probe.getsockname()[1])


def pick_two_ports() -> tuple[int, int]:
    """Pick two free ports. The first is held while the second is picked: else both may be the same."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1]), pick_port(0, "--proxy")


def is_serving(proxy: Process, listening: Listening) -> bool:
    """Return whether this very process, or a proxy that it has started, has both its ports open.

    Its status file says so: a connection would be accepted by another program that took the port, too.
    """
    for status in read_all(listening.spool):
        if status.alive and proxy.popen.pid in (status.value.get("pid"), status.value.get("supervisor")):
            found = status.value.get("listeners") or {}
            ports = [str(found.get(kind, "")).rpartition(":")[2] for kind in ("regular", "reverse")]
            return ports == [str(listening.port), str(listening.reverse_port)]
    return False


class OwnProxy:
    """Runs a proxy as long as a ``with`` block lasts. Raises StartFailed."""

    def __init__(self, store: StoreLocation, spool: Path, options: Sequence[str] = ()) -> None:
        folder = store.folder(spool)
        self._listening = Listening(
            store.absolute(),
            spool.resolve(),
            folder / "ca",
            *pick_two_ports(),
            # One program's calls are few: no process is started to read them.
            options=(*options, *(() if _names(options, "llm_workers") else ("llm_workers=thread",))),
        )
        self._logs = folder / "logs"
        self._processes: Processes | None = None
        self._process: Process | None = None

    def __enter__(self) -> WayIn:
        self._processes = Processes(self._logs, environment_of(self._listening.store))
        try:
            proxy = self._processes.start(f"proxy-{os.getpid()}", command(self._listening))
            self._process = proxy
            self._wait_for(lambda: is_serving(proxy, self._listening))
            bundle = trust.write_bundle(self._listening.authority, os.environ)
        except BaseException:
            self._processes.close()
            raise
        return WayIn(
            f"http://127.0.0.1:{self._listening.port}",
            bundle,
            f"http://127.0.0.1:{self._listening.reverse_port}",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the proxy once it has written the events of all calls; it may be called twice."""
        if self._processes is None:
            return
        if self._process is not None and not self._process.ended:
            self._processes.stop(self._process, STOP_SECONDS)
            self._process.log.unlink(missing_ok=True)
        self._processes.close()
        self._processes = None

    def _wait_for(self, ready: Callable[[], bool]) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self._process.ended:
                raise StartFailed(f"the proxy ended at once: {self._process.complaint()}")
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"the proxy is not ready after {START_SECONDS:.0f} s; see {self._process.log}."
                )
            time.sleep(0.05)


def environment_of(store: StoreLocation) -> dict[str, str]:
    """Give the environment of a proxy, without OPENAI_API_KEY.

    The real key is in the store, and an HTTPS_PROXY of the user's would not be used anyway.
    """
    environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    return environment | ({VARIABLE: store.url.reveal()} if store.url else {})

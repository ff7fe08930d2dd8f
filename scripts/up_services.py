"""What ``scripts/up`` runs: the stand-in if there is no key, the proxy, the dispatcher."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts import proxy_process, trust
from scripts.processes import OF_THE_STORE, Process, Processes, python_module
from scripts.proxy_process import START_SECONDS, Listening, StartFailed, listens
from scripts.standin import StandIn
from store.location import StoreLocation

PROXY_STOP_SECONDS = 30.0
DISPATCHER_STOP_SECONDS = 15.0
DRAIN_SECONDS = 120.0
WEB_ADDRESS = re.compile(r"Web server listening at (http\S+)")


class Interrupted(Exception):
    """The user asked to stop during the start."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is kept and listens."""

    data: Path
    store: StoreLocation
    spool: Path
    port: int
    reverse_port: int
    web_port: int | None
    """None: mitmdump."""
    cloudwatch: tuple[str, ...] = ()
    """The dispatcher's options for CloudWatch Logs; none without."""

    @property
    def authority(self) -> Path:
        """mitmproxy's `confdir`."""
        return self.data / "ca"

    @property
    def events(self) -> Path:
        return self.data / "events.jsonl"


class Services:
    """Started once, stopped in order; nothing outlives it."""

    def __init__(self, place: Place, *, standin: StandIn | None, stopping: Callable[[], bool]) -> None:
        """`standin`: the server that the proxy sends calls to instead of the API."""
        self._place = place
        self._standin = standin
        self._stopping = stopping
        # The key is in the store; nothing that runs needs it in its environment.
        environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
        self._processes = Processes(place.data / "logs", environment)
        self._dispatcher: Process | None = None
        self.proxy: Process | None = None

    def start(self) -> Path:
        """Start all, wait until the proxy listens, return the CA bundle. Raises StartFailed, Interrupted."""
        if self._standin:
            self._standin.start()
        self.proxy = self._processes.start("proxy", self._proxy_command())
        self._wait_for(lambda: listens(self._place.port), "the proxy")
        self._wait_for(lambda: listens(self._place.reverse_port), "the reverse listener")
        if self._place.web_port:
            self._wait_for(lambda: self.web_address() is not None, "mitmweb")
        self._dispatcher = self._processes.start(
            "dispatcher", self._dispatch_command("--follow"), without=OF_THE_STORE
        )
        return trust.write_bundle(self._place.authority, os.environ)

    def ended(self) -> Process | None:
        """A process that ended by itself."""
        return self._processes.ended()

    def web_address(self) -> str | None:
        """Where mitmweb's pages are, with the password in the address."""
        found = WEB_ADDRESS.search(self.proxy.output()) if self.proxy else None
        return found[1] if found else None

    def stop(self) -> str | None:
        """Stop the proxy, ship what it wrote, stop the rest. Returns what went wrong, if anything."""
        if self.proxy and self.proxy in self._processes.running:
            self._processes.stop(self.proxy, PROXY_STOP_SECONDS)
        if self._dispatcher not in self._processes.running:
            return None
        self._processes.stop(self._dispatcher, DISPATCHER_STOP_SECONDS)
        # One that was told to end just after its start may not have begun.
        drain = self._processes.start("drain", self._dispatch_command("--once"), without=OF_THE_STORE)
        try:
            code = drain.popen.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            code = -1
        said = " / ".join(drain.last_lines(1))
        return f"the spool could not be drained ({drain.log}): {said}" if code else None

    def close(self) -> None:
        """End at once whatever still runs."""
        self._processes.close()
        if self._standin:
            self._standin.close()

    def _proxy_command(self) -> list[str]:
        place = self._place
        options = [f"llm_upstream={self._standin.base_url}"] if self._standin else []
        return proxy_process.command(
            Listening(
                place.store,
                place.spool,
                place.authority,
                place.port,
                place.reverse_port,
                place.web_port,
                options,
            )
        )

    def _dispatch_command(self, way: str) -> list[str]:
        """One dispatcher for all sinks: it knows every consumer before it removes what all are done with."""
        place = self._place
        services = "file,cloudwatch" if place.cloudwatch else "file"
        options = ("--output", str(place.events), *place.cloudwatch)
        return python_module(
            "scripts.cli", "dispatch", "--service", services, *options, "--spool", str(place.spool), way
        )

    def _wait_for(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self._stopping():
                raise Interrupted
            if dead := self.ended():
                raise StartFailed(f"the {dead.name} ended at once: {dead.complaint()}")
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{what} is not ready after {START_SECONDS:.0f} s; see {self._place.data}/logs."
                )
            time.sleep(0.05)

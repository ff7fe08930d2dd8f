"""Run what ``scripts/up`` needs: the stand-in if there is no key, the proxy, the dispatcher."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.client import proxy_process, trust
from scripts.client.client_environment import WayIn
from scripts.client.processes import OF_THE_STORE, Process, Processes, python_module
from scripts.client.proxy_process import START_SECONDS, Listening, StartFailed
from scripts.quickstart.demo_cloudwatch import CREDENTIALS, DemoCloudWatch
from scripts.quickstart.standin import StandIn
from store.database.location import StoreLocation

PROXY_STOP_SECONDS = 30.0
DISPATCHER_STOP_SECONDS = 15.0
DRAIN_SECONDS = 120.0
WEB_ADDRESS = re.compile(r"Web server listening at (http\S+)")


class Interrupted(Exception):
    """The user asked to stop during the start."""


@dataclass(frozen=True, slots=True)
class Place:
    """Says where everything is kept and listens."""

    data: Path
    store: StoreLocation
    spool: Path
    port: int
    reverse_port: int
    web_port: int | None
    """None: mitmdump."""
    cloudwatch: tuple[str, ...] = ()
    """The dispatcher's options for CloudWatch Logs; none without."""
    options: tuple[str, ...] = ()
    """More options of the proxy, as NAME=VALUE."""
    workers: int = 1
    """Proxies; more than one are those of ``llmproxy serve``."""
    demo: int | None = None
    """Port of a CloudWatch that is started along; None: none is."""

    @property
    def authority(self) -> Path:
        """Give mitmproxy's `confdir`."""
        return self.data / "ca"

    @property
    def events(self) -> Path:
        return self.data / "events.jsonl"


class Services:
    """Runs the services: started once, stopped in order; nothing outlives them."""

    def __init__(self, place: Place, *, standin: StandIn | None, stopping: Callable[[], bool]) -> None:
        """Take as `standin` the server that the proxy sends calls to instead of the API."""
        self._place = place
        self._standin = standin
        self._stopping = stopping
        # The key is in the store; nothing that runs needs it in its environment.
        environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
        if place.demo:
            environment |= CREDENTIALS
        self._processes = Processes(place.data / "logs", environment)
        self._dispatcher: Process | None = None
        self._cloudwatch = DemoCloudWatch(place.demo) if place.demo else None
        self.proxy: Process | None = None

    def start(self) -> WayIn:
        """Start all and return how to reach the proxy. Raises StartFailed, Interrupted."""
        if self._standin:
            self._standin.start()
        if self._cloudwatch:
            self._processes.start("cloudwatch", self._cloudwatch.command(), without=OF_THE_STORE)
            self._wait_for(self._cloudwatch.answers, "moto")
        listening = self._listening()
        proxy = self.proxy = self._processes.start("proxy", proxy_process.command(listening))
        self._wait_for(lambda: proxy_process.is_serving(proxy, listening), "the proxy")
        if self._place.web_port:
            self._wait_for(lambda: self.web_address() is not None, "mitmweb")
        self._dispatcher = self._processes.start(
            "dispatcher", self._dispatch_command("--follow"), without=OF_THE_STORE
        )
        bundle = trust.write_bundle(self._place.authority, os.environ)
        address = "http://127.0.0.1"
        return WayIn(f"{address}:{self._place.port}", bundle, f"{address}:{self._place.reverse_port}")

    def cloudwatch_message(self, event_id: str) -> str | None:
        """Return the event as the CloudWatch of this machine holds it; None without one, or not yet."""
        return self._cloudwatch.message(event_id) if self._cloudwatch else None

    def ended(self) -> Process | None:
        """Give a process that ended by itself."""
        return self._processes.ended()

    def web_address(self) -> str | None:
        """Give where mitmweb's pages are, with the password in the address."""
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

    def _listening(self) -> Listening:
        place = self._place
        upstream = [f"llm_upstream={self._standin.base_url}"] if self._standin else []
        return Listening(
            place.store,
            place.spool,
            place.authority,
            place.port,
            place.reverse_port,
            place.web_port,
            options=(*upstream, *place.options),
            workers=place.workers,
        )

    def _dispatch_command(self, way: str) -> list[str]:
        """Write the command of one dispatcher for all sinks.

        It knows every consumer before it removes what all are done with.
        """
        place = self._place
        cloudwatch = self._cloudwatch.options() if self._cloudwatch else place.cloudwatch
        services = "file,cloudwatch" if cloudwatch else "file"
        options = ("--output", str(place.events), *cloudwatch)
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

"""Run ``scripts/up`` from its start to its end."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from scripts.client import client_environment, trust
from scripts.client.proxy_process import StartFailed
from scripts.quickstart import first_call
from scripts.quickstart import report as up_report
from scripts.quickstart.credentials import Credentials
from scripts.quickstart.services import Interrupted, Place, Services
from store.spool.tail import Tail

EVENT_SECONDS = 30.0


@dataclass(slots=True)
class Run:
    """Holds what is shown and watched while the services run."""

    services: Services
    place: Place
    credentials: Credentials
    stop: threading.Event
    """Set when the user wants an end."""
    events: first_call.EventFile = field(init=False)
    _calls: Tail = field(init=False)
    """All events, with what the dispatcher leaves out: why a call was refused."""
    _shown: str | None = None
    """Id of the first call's event."""

    def __post_init__(self) -> None:
        self.events = first_call.EventFile(self.place.events)
        self._calls = Tail(self.place.spool)

    def until_stopped(self, call: first_call.Call | None, *, once: bool) -> None:
        """Start, show `call` and its event, watch (unless `once`), drain. Raises StartFailed, CallFailed."""
        try:
            way = self.services.start()
            if call:
                self._show(call, fatal=once)
            changes = client_environment.variables(way, self.credentials.token, os.environ)
            up_report.lines_to_paste(changes, self.credentials, self.services.web_address())
            if not once:
                self._watch()
        except Interrupted:
            pass
        except (StartFailed, first_call.CallFailed):
            self.services.stop()
            raise
        up_report.progress("Stopping: the proxy, then the dispatcher once it has drained ...")
        if trouble := self.services.stop():
            raise StartFailed(trouble)
        up_report.progress(f"Stopped. Events are in {self.place.events}")

    def _show(self, call: first_call.Call, *, fatal: bool) -> None:
        """Make the call; show its event, also when the call failed."""
        up_report.progress(f"Making one call, {call.note}, through the proxy ...")
        authority = self.place.authority / trust.CA_FILE
        failure = None
        try:
            first_call.make(call, proxy_port=self.place.port, ca_file=authority, token=self.credentials.token)
        except first_call.CallFailed as error:
            failure = first_call.CallFailed(f"the first call failed: {error}")
        try:
            event = self._event()
            self._shown = event["event_id"]
            up_report.first_event(event, self.credentials, self.place.events)
            if self.place.demo:
                up_report.in_cloudwatch(self._message(str(event["event_id"])))
        except first_call.CallFailed as error:
            failure = failure or error
        if failure and fatal:
            raise failure
        if failure:
            up_report.progress(f"Warning: {failure}")

    def _event(self) -> dict[str, Any]:
        """Give the event of the first call; nobody else has the new token yet."""
        deadline = time.monotonic() + EVENT_SECONDS
        while time.monotonic() < deadline:
            for event in self.events.fresh():
                if event.get("token_id") == self.credentials.token_id:
                    return event
            if self.stop.wait(0.05):
                raise Interrupted
            self._check()
        raise first_call.CallFailed(
            f"no event of the first call after {EVENT_SECONDS:.0f} s; see {self.place.data / 'logs'}"
        )

    def _message(self, event_id: str) -> str:
        """Give the event as the CloudWatch of this machine holds it."""
        deadline = time.monotonic() + EVENT_SECONDS
        while time.monotonic() < deadline:
            if message := self.services.cloudwatch_message(event_id):
                return message
            if self.stop.wait(0.2):
                raise Interrupted
            self._check()
        raise first_call.CallFailed(
            f"CloudWatch has no event after {EVENT_SECONDS:.0f} s; see {self.place.data / 'logs'}"
        )

    def _watch(self) -> None:
        up_report.progress("\nRunning; each call is shown as its event arrives. Ctrl-C stops.")
        while not self.stop.wait(0.2):
            self._check()
            for event in self._calls.look():
                if event.get("event_id") != self._shown:
                    up_report.one_line(event)

    def _check(self) -> None:
        if dead := self.services.ended():
            raise StartFailed(f"the {dead.name} ended by itself ({dead.log}): {dead.complaint()}")

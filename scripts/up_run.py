"""From the start of ``scripts/up`` to its end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from scripts import first_call, trust, up_report
from scripts.proxy_process import StartFailed
from scripts.up_credentials import Credentials
from scripts.up_services import Interrupted, Place, Services

EVENT_SECONDS = 30.0


@dataclass(slots=True)
class Run:
    """What is shown and watched while the services run."""

    services: Services
    place: Place
    credentials: Credentials
    stop: threading.Event
    """Set when the user wants an end."""
    events: first_call.EventFile = field(init=False)

    def __post_init__(self) -> None:
        self.events = first_call.EventFile(self.place.events)

    def until_stopped(self, call: first_call.Call | None, *, once: bool) -> None:
        """Start, show `call` and its event, watch (unless `once`), drain. Raises StartFailed, CallFailed."""
        try:
            bundle = self.services.start()
            up_report.ways_in(self.place, bundle, self.credentials, self.services.web_address())
            if call:
                self._show(call, fatal=once)
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
        up_report.progress(f"\nMaking one call, {call.note}, through the proxy ...")
        authority = self.place.authority / trust.CA_FILE
        failure = None
        try:
            first_call.make(call, proxy_port=self.place.port, ca_file=authority, token=self.credentials.token)
        except first_call.CallFailed as error:
            failure = first_call.CallFailed(f"the first call failed: {error}")
        try:
            event = self._event()
            up_report.progress("Its event, as the dispatcher wrote it:")
            up_report.full_event(event)
        except first_call.CallFailed as error:
            failure = failure or error
        if failure and fatal:
            raise failure
        if failure:
            up_report.progress(f"Warning: {failure}")

    def _event(self) -> dict[str, Any]:
        """The event of the first call; nobody else has the new token yet."""
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

    def _watch(self) -> None:
        up_report.progress("\nRunning; each call is shown as its event arrives. Ctrl-C stops.")
        while not self.stop.wait(0.2):
            self._check()
            for event in self.events.fresh():
                up_report.one_line(event)

    def _check(self) -> None:
        if dead := self.services.ended():
            raise StartFailed(f"the {dead.name} ended by itself ({dead.log}): {dead.complaint()}")

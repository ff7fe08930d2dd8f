"""Report what a dispatcher says of itself: its file beside the spool, and its health page."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dispatch.delivery import Totals
from store.core.times import rfc3339
from store.spool import dispatcher_states

SECONDS = 3.0
"""Between two reports."""
BEHIND_SECONDS = 300.0
"""Age of the oldest event that is not sent, beyond which a dispatcher does not count as healthy."""


class StateReporter:
    """Keeps the state of each consumer in the spool, for `llmproxy status` and `llmproxy doctor`."""

    def __init__(self, spool: Path, consumers: Mapping[str, str]) -> None:
        """Take as `consumers` the name of the cursor of each sink."""
        self._spool = spool
        self._consumers = consumers
        self._reported: float | None = None

    def report(self, totals: Mapping[str, Totals], *, ended: bool = False) -> None:
        """Write the states, unless that was done a moment ago. One that can't be written is left out."""
        now = time.monotonic()
        if not ended and self._reported is not None and now - self._reported < SECONDS:
            return
        self._reported = now
        moment = rfc3339(datetime.now(UTC))
        facts = {"pid": os.getpid(), "updated_at": moment, "ended_at": moment if ended else None}
        states = {self._consumers.get(name, name): {**facts, **of.as_dict()} for name, of in totals.items()}
        if self._spool.is_dir():
            with contextlib.suppress(OSError):  # the disk may be full: the dispatcher's own log says so
                dispatcher_states.write(self._spool, states)


def health(totals: Mapping[str, Totals]) -> dict[str, Any]:
    """Return what the health page shows; `status` is ``ok`` where there are no reasons."""
    reasons = []
    for name, of in dict(totals).items():
        lag = of.lag(time.time())
        if of.error:
            reasons.append({"code": "sink_failing", "sink": name, "message": of.error})
        if lag > BEHIND_SECONDS:
            message = f"the oldest event that is not sent is {lag:.0f} s old"
            reasons.append({"code": "sink_behind", "sink": name, "message": message})
    sinks = {name: of.as_dict() for name, of in dict(totals).items()}
    return {"status": "unavailable" if reasons else "ok", "reasons": reasons, "sinks": sinks}

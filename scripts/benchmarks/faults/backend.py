"""Run the strict CloudWatch server, with a ledger of everything that it ever took."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.benchmarks.strict_cloudwatch import (
    CUT_AFTER,
    CUT_BEFORE,
    GATEWAY,
    HALF_ANSWER,
    RESET_MID_BODY,
    SERVER_ERROR,
    THROTTLED,
    UNAVAILABLE,
    Fault,
    Logs,
    Rejection,
    StrictCloudWatch,
)

NO_ANSWER = Fault("taken, then no answer", cut=True, stored=True, delay=1.0)
CLEAN = (THROTTLED, UNAVAILABLE, SERVER_ERROR, GATEWAY, RESET_MID_BODY, CUT_BEFORE)
"""Nothing was taken."""
AMBIGUOUS = (CUT_AFTER, HALF_ANSWER, NO_ANSWER)
"""It was taken, and the sender can't know: it may send that request again."""


KEPT = ("type", "event_id", "writer", "seq", "outcome")
"""It is what an account needs of an event."""


@dataclass
class Ledger(Logs):
    """Keeps logs that remember what was put, call by call, also when its stream is gone."""

    taken: list[list[dict[str, Any]]] = field(default_factory=list)

    def put(
        self, group_name: Any, stream: Any, events: Sequence[Mapping[str, Any]], forced: Rejection | None
    ) -> dict[str, Any]:
        answer = super().put(group_name, stream, events, forced)
        messages = [json.loads(event["message"]) for event in events]
        self.taken.append([{name: each.get(name) for name in KEPT} for each in messages])
        return answer


class Backend(StrictCloudWatch):
    """Holds one log group. Its streams may vanish; what was in them stays in the group under another name."""

    def __init__(self, group: str) -> None:
        super().__init__()
        self.group = group
        self.ledger = Ledger()
        self.logs = self.ledger
        self.happened: Counter[str] = Counter()
        """Faults that befell a call."""
        self._gone = 0

    def fault(self, operation: str) -> Fault | None:
        found = super().fault(operation)
        if found is not None:
            self.happened[found.name] += 1
        return found

    @property
    def ambiguous(self) -> int:
        """Count the calls that were taken without an answer."""
        return sum(self.happened[fault.name] for fault in AMBIGUOUS)

    def delete_streams(self) -> None:
        """Delete streams as if somebody had, except that the proof can still read what was delivered."""
        with self._lock:
            streams = self.logs.groups[self.group].streams if self.group in self.logs.groups else {}
            for name in list(streams):
                if not name.startswith("gone-"):
                    self._gone += 1
                    streams[f"gone-{self._gone}"] = streams.pop(name)

    def delivered(self) -> list[list[dict[str, Any]]]:
        """Give the events of each call that was taken, in the order of arrival."""
        with self._lock:
            return [list(put) for put in self.ledger.taken]

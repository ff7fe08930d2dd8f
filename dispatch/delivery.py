"""Send what a sink has planned: the one place where anything is tried again.

Parcels of one lane go out one after another, each as often as it takes, so that their order holds. Lanes go
out side by side. What only time can heal is tried again after a random part of a growing limit ("full
jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), so that many senders do
not come back at once. What only a person can mend is tried every half minute and told once a minute.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from dispatch.errors import Closed, DeliveryError, Misconfigured, Unavailable
from dispatch.sinks import Parcel, Rejected, Sink

logger = logging.getLogger(__name__)

BASE_SECONDS = 0.5
LONGEST_SECONDS = 30.0
LONGEST_ASKED_SECONDS = 600.0
"""That a backend may ask to wait: Slack means what it says."""
TRIES_ONCE = 7
"""It is that of one request, where the dispatcher is to end: about half a minute at most."""
REPEAT_SECONDS = 60.0
"""Between two warnings with the same text."""
LANES_AT_ONCE = 32


class GaveUp(Exception):
    """The backend did not take a request, and the dispatcher is not to wait any longer."""


@dataclass(slots=True)
class Totals:
    """Counts what was done since the start. The counters of requests may be raised by several threads."""

    sent: int = 0
    dead: int = 0
    """Put aside, with the reason, because the backend will never take it."""
    skipped: int = 0
    """Records that the backend has no use for."""
    requests: int = 0
    retries: int = 0
    batches: int = 0
    backlog: int = 0
    """Bytes that were left in the spool when last looked at."""
    oldest: float | None = None
    """It says when the first event happened that is read and not confirmed, in seconds since 1970."""
    error: str = ""
    """It says why the last request failed; empty while they succeed."""
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def lag(self, now: float) -> float:
        """Give the age in seconds of the oldest event that is not confirmed; 0 where there is none."""
        oldest = self.oldest
        return 0.0 if oldest is None else max(0.0, now - oldest)

    def as_dict(self) -> dict[str, Any]:
        """Give the totals for JSON output."""
        return {
            "sent": self.sent,
            "dead": self.dead,
            "skipped": self.skipped,
            "batches": self.batches,
            "requests": self.requests,
            "retries": self.retries,
            "backlog_bytes": self.backlog,
            "lag_seconds": round(self.lag(time.time()), 3),
            "error": self.error or None,
            "seconds": round(self.seconds, 3),
        }


class Delivery:
    """Sends parcels to one sink."""

    def __init__(self, sink: Sink, totals: Totals, *, patient: bool, stop: threading.Event) -> None:
        """Take `patient`, to never give up, and `stop`.

        Once set, `stop` ends the work after the requests on their way.
        """
        self._sink = sink
        self._totals = totals
        self._patient = patient
        self._stop = stop
        self._lock = threading.Lock()
        self._told: dict[str, float] = {}

    def send(self, parcels: Sequence[Parcel]) -> list[Rejected] | None:
        """Deliver all; what comes back was refused for good. None when told to stop before all were taken.

        Raises GaveUp, unless patient: after some tries, and at once where only a person can help. The lanes
        that did not fail are finished first.
        """
        lanes: dict[str, list[Parcel]] = {}
        for parcel in parcels:
            lanes.setdefault(parcel.lane, []).append(parcel)
        if len(lanes) <= 1:
            return self._send_lane(parcels)
        with ThreadPoolExecutor(min(len(lanes), LANES_AT_ONCE), "lane") as pool:
            outcomes = [pool.submit(self._send_lane, lane) for lane in lanes.values()]
        rejected = [outcome.result() for outcome in outcomes]
        return None if None in rejected else [letter for lane in rejected if lane for letter in lane]

    def _send_lane(self, parcels: Sequence[Parcel]) -> list[Rejected] | None:
        rejected: list[Rejected] = []
        for parcel in parcels:
            refused = self._send_parcel(parcel)
            if refused is None:
                return None
            rejected += refused
        return rejected

    def _send_parcel(self, parcel: Parcel) -> list[Rejected] | None:
        """Deliver one request, as often as it takes; None when told to stop meanwhile."""
        tries = 0
        while not self._stop.is_set():
            tries += 1
            self._count(requests=1)
            try:
                rejected = self._sink.send(parcel)
                self._totals.error = ""
                return rejected
            except DeliveryError as error:
                self._totals.error = str(error)
                self._count(retries=1)
                hopeless = isinstance(error, Misconfigured) or tries >= TRIES_ONCE
                if isinstance(error, Closed) or (hopeless and not self._patient):
                    raise GaveUp(str(error)) from error
                seconds = pause(tries, error)
                self._tell(error, seconds)
                self._stop.wait(seconds)
        return None

    def _count(self, *, requests: int = 0, retries: int = 0) -> None:
        with self._lock:
            self._totals.requests += requests
            self._totals.retries += retries

    def _tell(self, error: DeliveryError, seconds: float) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._told.get(str(error), -REPEAT_SECONDS) < REPEAT_SECONDS:
                return
            self._told = {text: at for text, at in self._told.items() if now - at < REPEAT_SECONDS}
            self._told[str(error)] = now
        logger.warning("%s; trying again in %.1f s", error, seconds)


def pause(tries: int, error: DeliveryError) -> float:
    """Give the seconds to wait after so many tries.

    They are as the backend asks, else a random part of a growing limit.
    """
    if isinstance(error, Misconfigured):
        return LONGEST_SECONDS
    if isinstance(error, Unavailable) and error.retry_after is not None:
        return max(0.0, min(error.retry_after, LONGEST_ASKED_SECONDS))
    limit = min(BASE_SECONDS * 2 ** min(tries - 1, 16), LONGEST_SECONDS)
    return random.uniform(0, limit)  # noqa: S311 - no secret

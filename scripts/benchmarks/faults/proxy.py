"""Stand in for a proxy: open calls and record their events, as fast as it may be killed.

It uses the proxy's own journal and spool, and none of mitmproxy, whose start would take longer than a round.
(The tests of the live proxy kill that one.) Each call that went upstream is named on standard output.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from uuid_utils import uuid7

from store.core.event_fields import blank_event
from store.core.times import rfc3339
from store.spool import open_spool

RETRY_SECONDS = 0.05
MOST_TEXT = 4000


class Proxy:
    """Works until SIGTERM, which ends it in order."""

    def __init__(self, spool: Path, seed: int, clock: float) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable
        self._clock = timedelta(seconds=clock)
        self._writer, self._journal = open_spool(spool)
        self._ending = False
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, *_: object) -> None:
        self._ending = True

    def run(self) -> None:
        open_calls: list[dict[str, Any]] = []
        while not self._ending:
            for _ in range(self._random.randint(1, 12)):
                if (call := self._open()) is not None:
                    open_calls.append(call)
            # Some calls take longer than others; all end in the order in which they began.
            ended = self._random.randint(0, len(open_calls))
            self._record(open_calls[:ended])
            del open_calls[:ended]
            time.sleep(self._random.uniform(0, 0.06))
        self._record(open_calls)
        self._writer.close()

    def _open(self) -> dict[str, Any] | None:
        now = rfc3339(datetime.now(UTC) + self._clock)
        call = {"event_id": str(uuid7()), "timestamp": now, "model": "gpt-4o-mini", "usage": None}
        try:
            self._journal.opened(call)
        except OSError:
            return None  # refused: it does not go upstream
        print(call["event_id"], flush=True)
        return call

    def _record(self, calls: list[dict[str, Any]]) -> None:
        text = "x" * self._random.randint(0, MOST_TEXT)
        events = [{**blank_event(), **call, "outcome": "ok", "request": {"body": text}} for call in calls]
        while events:
            try:
                self._writer.append(events)
                return
            except OSError:  # as the proxy's worker does it
                time.sleep(RETRY_SECONDS)


def main() -> None:
    """Read ``SPOOL SEED CLOCK`` and run: the clock's error is in seconds."""
    spool, seed, clock = sys.argv[1:]
    # Names of writers begin with the time: they follow the wrong clock, too.
    proxy = Proxy(Path(spool), int(seed), float(clock))
    proxy.run()


if __name__ == "__main__":
    main()

"""Count how long calls took, in ranges: for Prometheus.

By endpoint and model, and of those no more than PAIRS apart: what comes later counts under the model `other`,
so that nothing a client writes makes a series.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

from store.core.event import UsageEvent

BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds."""
MEASURES = {
    # name: (help, field of the event in milliseconds)
    "call_duration_seconds": ("From the request's headers to the end of the call.", "duration_ms"),
    "time_to_first_byte_seconds": (
        "From the request's headers to the first byte of the answer's body.",
        "time_to_first_byte_ms",
    ),
    "time_to_first_token_seconds": (
        "From the request's headers to the first text, argument or audio of a stream.",
        "time_to_first_token_ms",
    ),
}
PAIRS = 100
OTHER = "other"


@dataclass(slots=True)
class Histogram:
    """Counts calls by range, and sums their seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    sum: float = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        """Give the buckets cumulated, as Prometheus has them."""
        shown, total = [], 0
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], self.counts, strict=True):
            total += count
            shown.append((bound, float(total)))
        return shown


class Histograms:
    """Keeps one for each measure, endpoint and model. Not thread-safe: whoever counts holds a lock."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Histogram] = {}
        self._pairs: set[tuple[str, str]] = set()

    def add(self, event: UsageEvent, model: str) -> None:
        """Count a call; `model` is its label."""
        endpoint = str(event.endpoint)
        if (endpoint, model) not in self._pairs:
            if model == OTHER or len(self._pairs) >= PAIRS:
                model = OTHER
            else:
                self._pairs.add((endpoint, model))
        for measure, (_, name) in MEASURES.items():
            value = getattr(event, name)
            if isinstance(value, int) and value >= 0:
                found = self._found.setdefault((measure, endpoint, model), Histogram())
                found.counts[bisect_left(BOUNDS, value / 1000)] += 1
                found.sum += value / 1000

    def of(self, measure: str) -> Iterator[tuple[list[str], list[tuple[str, float]], float]]:
        """Give endpoint and model, the buckets, and the sum of each histogram of a measure."""
        for (name, endpoint, model), found in self._found.items():
            if name == measure:
                yield [endpoint, model], found.buckets(), found.sum

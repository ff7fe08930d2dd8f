"""Write token usage and duration as histograms: a batch's points, by minute, with the calls' own times.

Delta temporality: the spool is replayed, and a point stands for the calls of its batch and no others.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_DELTA,
    HistogramDataPoint,
    Metric,
)

from dispatch.sinks.calls import Call
from dispatch.sinks.otlp.attributes import common, pairs
from dispatch.sinks.otlp.spans import nanoseconds

TOKENS = [float(4**power) for power in range(14)]
SECONDS = [round(0.01 * 2**power, 2) for power in range(14)]
"""Both as the conventions advise."""
MINUTE = 60 * 10**9

Key = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Points:
    """Holds the values of one set of attributes within a minute."""

    bounds: Sequence[float]
    values: list[float] = field(default_factory=list)
    start: int = 0
    end: int = 0
    """Nanoseconds since 1970: from the first call's start to the last one's end."""

    def add(self, value: float, call: Call) -> None:
        start, end = nanoseconds(call.start), nanoseconds(call.end)
        self.start = min(self.start, start) if self.values else start
        self.end = max(self.end, end)
        self.values.append(value)

    def point(self, key: Key) -> HistogramDataPoint:
        counts = [0] * (len(self.bounds) + 1)
        for value in self.values:
            counts[bisect_left(self.bounds, value)] += 1
        return HistogramDataPoint(
            attributes=pairs(dict(key)),
            start_time_unix_nano=self.start,
            time_unix_nano=self.end,
            count=len(self.values),
            sum=sum(self.values),
            bucket_counts=counts,
            explicit_bounds=self.bounds,
            min=min(self.values),
            max=max(self.values),
        )


def metrics(calls: Sequence[Call]) -> Iterator[Metric]:
    """Yield `gen_ai.client.token.usage` and `gen_ai.client.operation.duration`.

    The unknown is not counted.
    """
    tokens: dict[tuple[int, Key], Points] = {}
    seconds: dict[tuple[int, Key], Points] = {}
    for call in calls:
        minute = nanoseconds(call.end) // MINUTE
        shared = {name: str(value) for name, value in common(call).items() if value is not None}
        without_error = {name: value for name, value in shared.items() if name != "error.type"}
        for side, count in (("input", call.usage.input_tokens), ("output", call.usage.output_tokens)):
            if count is not None:
                key = tuple({**without_error, "gen_ai.token.type": side}.items())
                tokens.setdefault((minute, key), Points(TOKENS)).add(count, call)
        duration = (call.end - call.start).total_seconds()
        seconds.setdefault((minute, tuple(shared.items())), Points(SECONDS)).add(duration, call)
    for name, unit, groups in (
        ("gen_ai.client.token.usage", "{token}", tokens),
        ("gen_ai.client.operation.duration", "s", seconds),
    ):
        if groups:
            metric = Metric(name=name, unit=unit)
            metric.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
            metric.histogram.data_points.extend(points.point(key) for (_, key), points in groups.items())
            yield metric

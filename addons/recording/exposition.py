"""Write a proxy process's figures in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from addons.recording.histograms import MEASURES
from addons.recording.metrics import COUNTERS, GAUGES

PREFIX = "llmproxy_"
Times = Callable[[str], Iterable[tuple[list[str], list[tuple[str, float]], float]]]


class ProxyCollector(Collector):
    """Gives the figures of one moment.

    They are as :func:`addons.runtime.Runtime.figures` gives them; `times` is how long calls took.
    """

    def __init__(self, figures: Mapping[str, Any], times: Times) -> None:
        self._figures = figures
        self._times = times

    def collect(self) -> Iterator[Metric]:
        for name, row in COUNTERS.items():
            counter = CounterMetricFamily(PREFIX + name, row.help, labels=row.labels)
            for values, figure in self._rows(row.key or name, len(row.labels)):
                counter.add_metric(values, figure)
            yield counter
        for name, gauge in GAUGES.items():
            yield GaugeMetricFamily(PREFIX + name, gauge.help, value=float(self._figures[gauge.key]))
        for name, (text, _) in MEASURES.items():
            histogram = HistogramMetricFamily(PREFIX + name, text, labels=["endpoint", "model"])
            for values, buckets, seconds in self._times(name):
                histogram.add_metric(values, buckets, seconds)
            yield histogram

    def _rows(self, key: str, depth: int) -> Iterator[tuple[list[str], float]]:
        for first, figure in self._figures[key].items():
            if depth == 1:
                yield [first], float(figure)
            else:
                for second, inner in figure.items():
                    yield [first, second], float(inner)


def exposition(figures: Mapping[str, Any], times: Times) -> bytes:
    """Give the text that Prometheus scrapes (exposition format 0.0.4)."""
    registry = CollectorRegistry()
    registry.register(ProxyCollector(figures, times))
    return generate_latest(registry)

"""A proxy process's figures in Prometheus' text format.

Each metric has its worst-case number of series beside it. Labels are bounded: endpoints by the table of
:mod:`addons.openai.endpoints`, outcomes and reasons by the schema, models and projects by
:data:`addons.counters.LABELS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX = "llmproxy_"

COUNTERS: dict[str, tuple[str, tuple[str, ...], str]] = {
    # name: (help, labels, worst-case number of series)
    "calls": ("Calls that are on record.", ("endpoint", "outcome"), "22 endpoints x 8 outcomes = 176"),
    "refused": ("Calls that the gate refused.", ("code",), "one per refusal code"),
    "gaps": ("Calls whose cost cannot be told for sure.", ("reason",), "5"),
    "usage": ("Calls with a usage, by where it comes from.", ("source",), "4"),
    "tokens": ("Tokens on record.", ("model", "side"), "(100 models + other) x 2 = 202"),
    "budget_marks": (
        "Marks of budgets that were reached: 50, 80 and 100 percent.",
        ("limit", "reached"),
        "10 limits x 3 = 30",
    ),
    "cost_usd": ("Cost on record, in US dollars.", ("project",), "100 projects + other + none = 102"),
}

GAUGES: dict[str, tuple[str, str]] = {
    # name: (help, key of the figures); one series each
    "healthy": ("1 while events can be written.", "healthy"),
    "open_calls": ("Calls under way.", "open_calls"),
    "queue_length": ("Finished calls that are not written yet.", "queue_length"),
    "dropped_events": ("Events that were dropped because the spool was full.", "dropped"),
    "uncounted_events": ("Events on disk that the store has not taken in yet.", "uncounted"),
    "audit_waiting": ("Refused authentications that are not in the audit log yet.", "audit_waiting"),
    "recorded_events": ("Number of the last event that is on disk.", "recorded"),
}


class ProxyCollector(Collector):
    """The figures of one moment, as :func:`addons.runtime.Runtime.figures` gives them."""

    def __init__(self, figures: Mapping[str, Any]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for name, (text, labels, _) in COUNTERS.items():
            counter = CounterMetricFamily(PREFIX + name, text, labels=labels)
            for values, figure in self._rows(name, len(labels)):
                counter.add_metric(values, figure)
            yield counter
        for name, (text, key) in GAUGES.items():
            yield GaugeMetricFamily(PREFIX + name, text, value=float(self._figures[key]))

    def _rows(self, name: str, depth: int) -> Iterator[tuple[list[str], float]]:
        source = {"usage": "usage_sources"}.get(name, name)
        for first, figure in self._figures[source].items():
            if depth == 1:
                yield [first], float(figure)
            else:
                for second, inner in figure.items():
                    yield [first, second], float(inner)


def exposition(figures: Mapping[str, Any]) -> bytes:
    """The text that Prometheus scrapes (exposition format 0.0.4)."""
    registry = CollectorRegistry()
    registry.register(ProxyCollector(figures))
    return generate_latest(registry)

"""List a proxy process's figures; :mod:`addons.recording.exposition` writes them in Prometheus' text format.

A row of COUNTERS or GAUGES is all that a figure needs, its sum over the proxies of one ``llmproxy serve``
(:mod:`addons.recording.group`) included. Labels are bounded: endpoints by the table of
:mod:`addons.openai.endpoints`, outcomes and reasons by the schema, models and projects by
:data:`addons.recording.counters.LABELS`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Sum = Literal["all", "living", "no"]
"""It says which proxies of a group add to its figure: also those that have ended, only the living, or
none."""


class CounterRow(NamedTuple):
    """Describes a counter."""

    help: str
    labels: tuple[str, ...]
    series: str
    """It says how many there are at the worst."""
    key: str = ""
    """It names the figures; it is empty where that is the counter's own name."""


class GaugeRow(NamedTuple):
    """Describes a gauge; one series."""

    help: str
    key: str
    sum: Sum = "living"


COUNTERS = {
    "calls": CounterRow(
        "Calls that are on record.", ("endpoint", "outcome"), "22 endpoints x 8 outcomes = 176"
    ),
    "refused": CounterRow("Calls that the gate refused.", ("code",), "one per refusal code"),
    "gaps": CounterRow("Calls whose cost cannot be told for sure.", ("reason",), "5"),
    "inexact": CounterRow("Calls whose tokens or cost are a lower bound, or approximate.", ("mark",), "2"),
    "usage": CounterRow("Calls with a usage, by where it comes from.", ("source",), "4", "usage_sources"),
    "tokens": CounterRow("Tokens on record.", ("model", "side"), "(100 models + other) x 2 = 202"),
    "budget_marks": CounterRow(
        "Marks of budgets that were reached: 50, 80 and 100 percent.",
        ("limit", "reached"),
        "10 limits x 3 = 30",
    ),
    "cache": CounterRow(
        "Calls by what the cache had for them, and answers that were stored.",
        ("result",),
        "hit, miss, bypass, revalidated, stored, slow, failed = 7",
        "cache_results",
    ),
    "circuit_openings": CounterRow(
        "Times that calls to an upstream were stopped as it failed again and again.",
        ("upstream",),
        "one per upstream",
    ),
    "saved_usd": CounterRow(
        "Cost of answers from the cache, had they not been kept, in US dollars.",
        ("project",),
        "100 projects + other + none = 102",
    ),
    "cost_usd": CounterRow(
        "Cost on record, in US dollars.", ("project",), "100 projects + other + none = 102"
    ),
}

GAUGES = {
    "healthy": GaugeRow(
        "1 while events can be written, and the store decides whose usage they show.", "healthy", "no"
    ),
    "circuits_open": GaugeRow("Upstreams to which calls are refused as they fail.", "circuits_open"),
    "open_calls": GaugeRow("Calls under way.", "open_calls"),
    "queue_length": GaugeRow("Finished calls that are not written yet.", "queue_length"),
    "dropped_events": GaugeRow("Events that were dropped because the spool was full.", "dropped", "all"),
    "cache_entries": GaugeRow("Answers and lists of variants in the cache's memory.", "cache_entries"),
    "cache_bytes": GaugeRow("Bytes of the cache's memory.", "cache_bytes"),
    "uncounted_events": GaugeRow("Events on disk that the store has not taken in yet.", "uncounted"),
    "audit_waiting": GaugeRow("Refused authentications that are not in the audit log yet.", "audit_waiting"),
    "worker_processes": GaugeRow(
        "Processes that read finished calls; 0: a thread does.", "worker_processes", "no"
    ),
    "worker_restarts": GaugeRow(
        "Times that one of them ended before its time, and was started again.", "worker_restarts", "all"
    ),
    "outlined_calls": GaugeRow(
        "Calls that ended every process which read them; recorded in outline.", "outlined", "all"
    ),
    "recorded_events": GaugeRow("Number of the last event that is on disk.", "recorded", "all"),
}

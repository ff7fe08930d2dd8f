"""What is counted of events, and how they are read for it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import CollectorRegistry

from addons.recording.counters import GAPS, LABELS, Counters, gaps
from addons.recording.exposition import ProxyCollector, exposition
from addons.recording.histograms import MEASURES, PAIRS, Histograms
from addons.recording.metrics import COUNTERS, GAUGES
from dispatch.metrics import DispatchCollector
from store.core.event import UsageEvent
from tests.events import typed

ROOT = Path(__file__).resolve().parents[3]
FIGURES = [row.key for row in GAUGES.values()]
NOTHING_YET: dict[str, Any] = {"cache_results": {}, "circuit_openings": {}}


def event(**changes: Any) -> UsageEvent:
    fields = {
        "outcome": "ok",
        "endpoint": "chat",
        "model": "gpt-4o-mini",
        "project_id": "p1",
        "error": None,
        "usage": {"input_tokens": 10, "output_tokens": 5, "source": "api"},
        "usage_missing_code": None,
        "cost": {"usd": "0.25", "price_source": "x"},
        **changes,
    }
    return typed(fields)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"usage": None, "usage_missing_code": "undecodable", "cost": None}, ["undecodable"]),
        ({"usage": None, "usage_missing_code": "unparsable", "cost": None}, ["unparsable"]),
        ({"usage": None, "usage_missing_code": "unread", "cost": None}, ["unparsable"]),
        ({"usage_missing_code": "cut"}, ["cut"]),
        ({"outcome": "client_aborted", "usage_missing_code": "no_answer", "cost": None}, ["cut"]),
        ({"usage_missing_code": "not_asked"}, ["no_usage"]),
        ({"usage_missing_code": "no_usage", "cost": {"usd": None}}, ["no_usage", "unpriced"]),
        ({"cost": {"usd": None, "missing": "no price"}}, ["unpriced"]),
        ({"usage": None, "usage_missing_code": "unbilled", "cost": None}, []),
        ({"usage": None, "usage_missing_code": "later", "cost": None}, []),
        ({"outcome": "refused", "usage_missing_code": "no_answer", "cost": None}, []),
        ({"outcome": "http_error", "usage_missing_code": "failed", "cost": None}, []),
    ],
)
def test_gaps(changes: dict[str, Any], found: list[str]) -> None:
    assert gaps(event(**changes)) == found
    assert set(found) <= GAPS.keys()


def test_sums() -> None:
    counters = Counters()
    counters.add([event(), event(), event(endpoint="images", usage=None, cost=None)])
    counters.add([event(outcome="refused", error={"code": "invalid_api_key"}, usage=None, cost=None)])
    counters.add([event(model="my-invention", cost={"usd": None}, project_id=None)])
    shown = counters.snapshot()
    assert shown["calls"] == {"chat": {"ok": 3, "refused": 1}, "images": {"ok": 1}}
    assert shown["refused"] == {"invalid_api_key": 1}
    assert shown["gaps"] == dict.fromkeys(GAPS, 0) | {"unpriced": 1}
    assert shown["inexact"] == {"lower_bound": 0, "approximate": 0}
    assert shown["tokens"] == {
        "gpt-4o-mini": {"input": 20, "output": 10},
        "other": {"input": 10, "output": 5},
    }
    assert shown["cost_usd"] == {"p1": "0.50"}


def test_lower_bounds_and_estimates_are_counted() -> None:
    counters = Counters()
    counters.add(
        [
            event(cost={"usd": "1", "reason": "lower_bound"}),
            event(usage={"input_tokens": 1, "complete": False, "approximate": ["audio"]}),
            event(cost={"usd": "1", "approximate": ["service_tier"]}),
        ]
    )
    assert counters.snapshot()["inexact"] == {"lower_bound": 2, "approximate": 2}


def test_labels_are_bounded() -> None:
    counters = Counters()
    counters.add(event(model=f"m{number}", project_id=f"p{number}") for number in range(3 * LABELS))
    shown = counters.snapshot()
    assert len(shown["tokens"]) == len(shown["cost_usd"]) == LABELS + 1
    assert shown["tokens"]["other"] == {"input": 2 * LABELS * 10, "output": 2 * LABELS * 5}


@pytest.mark.parametrize("junk", [{}, {"usage": 1, "cost": 2, "error": 3}, {"cost": {"usd": "NaN?"}}])
def test_any_event_can_be_counted(junk: dict[str, Any]) -> None:
    counters = Counters()
    counters.add([typed(junk)])
    assert sum(sum(one.values()) for one in counters.snapshot()["calls"].values()) == 1


def test_exposition() -> None:
    counters = Counters()
    counters.add(
        [event(), event(outcome="refused", error={"code": "invalid_api_key"}, usage=None, cost=None)]
    )
    figures = (
        dict.fromkeys(FIGURES, 0)
        | counters.snapshot()
        | {
            "healthy": True,
            "open_calls": 2,
            "circuit_openings": {"api.openai.com": 2},
            "queue_length": 0,
            "recorded": 2,
            "dropped": 0,
            "uncounted": 0,
            "audit_waiting": 0,
            "cache_results": {"hit": 3},
            "cache_entries": 1,
            "cache_bytes": 900,
        }
    )
    text = exposition(figures, lambda _: []).decode()
    assert 'llmproxy_calls_total{endpoint="chat",outcome="ok"} 1.0' in text
    assert 'llmproxy_refused_total{code="invalid_api_key"} 1.0' in text
    assert 'llmproxy_gaps_total{reason="unpriced"} 0.0' in text
    assert 'llmproxy_tokens_total{model="gpt-4o-mini",side="input"} 10.0' in text
    assert 'llmproxy_cost_usd_total{project="p1"} 0.25' in text
    assert 'llmproxy_cache_total{result="hit"} 3.0' in text
    assert "llmproxy_cache_bytes 900.0" in text
    assert "llmproxy_healthy 1.0" in text
    assert 'llmproxy_circuit_openings_total{upstream="api.openai.com"} 2.0' in text
    assert "llmproxy_open_calls 2.0" in text
    for name in (*COUNTERS, *GAUGES):
        assert f"# HELP llmproxy_{name}" in text


def test_times_by_endpoint_and_model() -> None:
    counters = Counters()
    for duration in (80, 100, 900, 700_000):
        counters.add([event(duration_ms=duration, time_to_first_byte_ms=None)])
    counters.add([event(outcome="refused", duration_ms=1)])
    (found,) = counters.times("call_duration_seconds")
    labels, buckets, seconds = found
    assert labels == ["chat", "gpt-4o-mini"]
    assert dict(buckets)["0.1"] == 2
    assert dict(buckets)["1.0"] == dict(buckets)["600.0"] == 3
    assert dict(buckets)["+Inf"] == 4
    assert seconds == pytest.approx(701.08)
    assert counters.times("time_to_first_byte_seconds") == []
    text = exposition(
        dict.fromkeys(FIGURES, 0) | counters.snapshot() | NOTHING_YET,
        counters.times,
    )
    assert b'llmproxy_call_duration_seconds_count{endpoint="chat",model="gpt-4o-mini"} 4.0' in text


def test_models_do_not_make_series_without_end() -> None:
    histograms = Histograms()
    for number in range(3 * PAIRS):
        histograms.add(typed({"endpoint": "chat", "duration_ms": 1}), f"m{number}")
    shown = histograms.of(next(iter(MEASURES)))
    found = {tuple(labels): dict(buckets)["+Inf"] for labels, buckets, _ in shown}
    assert len(found) == PAIRS + 1
    assert found["chat", "other"] == 2 * PAIRS


def test_the_dashboard_uses_metrics_that_exist() -> None:
    """Of the proxy and of the dispatcher; and each of its expressions can be read."""
    figures = dict.fromkeys(FIGURES, 0) | Counters().snapshot() | NOTHING_YET
    registry = CollectorRegistry()
    registry.register(ProxyCollector(figures, lambda _: []))
    registry.register(DispatchCollector({}))
    known: dict[str, Any] = {}
    for metric in registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""])
        known |= {metric.name + suffix: metric for suffix in suffixes}
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 15
    for expression in expressions:
        names = re.findall(r"\bllmproxy_\w+", expression)
        assert names
        assert set(names) <= known.keys(), expression
        labels = {label for name in names for label in getattr(known[name], "_labelnames", ())} | {"le"}
        used = re.findall(r"by \(([\w, ]+)\)", expression) + re.findall(r"\{(\w+)!?=", expression)
        assert {label.strip() for group in used for label in group.split(",")} <= labels, expression
        assert expression.count("(") == expression.count(")")
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))

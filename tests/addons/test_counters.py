"""What is counted of events, and how they are read for it."""

from __future__ import annotations

from typing import Any

import pytest

from addons.counters import GAPS, LABELS, Counters, gaps
from addons.metrics import COUNTERS, GAUGES, exposition


def event(**changes: Any) -> dict[str, Any]:
    return {
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
    assert shown["tokens"] == {
        "gpt-4o-mini": {"input": 20, "output": 10},
        "other": {"input": 10, "output": 5},
    }
    assert shown["cost_usd"] == {"p1": "0.50"}


def test_labels_are_bounded() -> None:
    counters = Counters()
    counters.add(event(model=f"m{number}", project_id=f"p{number}") for number in range(3 * LABELS))
    shown = counters.snapshot()
    assert len(shown["tokens"]) == len(shown["cost_usd"]) == LABELS + 1
    assert shown["tokens"]["other"] == {"input": 2 * LABELS * 10, "output": 2 * LABELS * 5}


@pytest.mark.parametrize("junk", [{}, {"usage": 1, "cost": 2, "error": 3}, {"cost": {"usd": "NaN?"}}])
def test_any_event_can_be_counted(junk: dict[str, Any]) -> None:
    counters = Counters()
    counters.add([junk])
    assert sum(sum(one.values()) for one in counters.snapshot()["calls"].values()) == 1


def test_exposition() -> None:
    counters = Counters()
    counters.add(
        [event(), event(outcome="refused", error={"code": "invalid_api_key"}, usage=None, cost=None)]
    )
    figures = counters.snapshot() | {
        "healthy": True,
        "open_calls": 2,
        "queue_length": 0,
        "recorded": 2,
        "dropped": 0,
        "uncounted": 0,
        "audit_waiting": 0,
    }
    text = exposition(figures).decode()
    assert 'llmproxy_calls_total{endpoint="chat",outcome="ok"} 1.0' in text
    assert 'llmproxy_refused_total{code="invalid_api_key"} 1.0' in text
    assert 'llmproxy_gaps_total{reason="unpriced"} 0.0' in text
    assert 'llmproxy_tokens_total{model="gpt-4o-mini",side="input"} 10.0' in text
    assert 'llmproxy_cost_usd_total{project="p1"} 0.25' in text
    assert "llmproxy_healthy 1.0" in text
    assert "llmproxy_open_calls 2.0" in text
    for name in (*COUNTERS, *GAUGES):
        assert f"# HELP llmproxy_{name}" in text

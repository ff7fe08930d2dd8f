"""What a proxy process has recorded, counted in memory: for ``llmproxy status``, health and metrics.

How an event is read for this stands here and nowhere else.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from store.event import AUDIT_TYPE, BUDGET_TYPE, SESSION_TYPE

Event = Mapping[str, Any]

GAPS = {
    "undecodable": "the answer's content coding was broken or unknown",
    "unparsable": "the answer, or the call, could not be understood",
    "no_usage": "the answer was whole and reported no usage, though its kind is billed by tokens",
    "unpriced": "the usage is known and its price is not",
    "cut": "the answer broke off, or never came, before its usage",
}
"""What keeps an event from telling what its call cost for sure. Usage may have been counted all the same."""

_BY_CODE = {
    "undecodable": "undecodable",
    "unparsable": "unparsable",
    "unread": "unparsable",
    "cut": "cut",
    "no_answer": "cut",
    "not_asked": "no_usage",
    "zero": "no_usage",
    "no_usage": "no_usage",
}
"""From an event's `usage_missing_code`; the other codes are no gaps."""

LABELS = 100
"""Distinct models, and distinct projects, that are counted apart; what comes later counts as `other`."""


def gaps(event: Event) -> list[str]:
    """The reasons, of :data:`GAPS`, why an event does not tell for sure what its call cost."""
    if event.get("outcome") == "refused":
        return []
    found = []
    if (gap := _BY_CODE.get(str(event.get("usage_missing_code")))) is not None:
        found.append(gap)
    cost = event.get("cost")
    if isinstance(cost, Mapping) and cost.get("usd") is None:
        found.append("unpriced")
    return found


class Counters:
    """Counts events. Thread-safe: the worker adds, the event loop and the reporter read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[str] = Counter()
        self._gaps: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._marks: Counter[tuple[str, str]] = Counter()
        self._cost: dict[str, Decimal] = {}
        self._models: set[str] = set()

    def add(self, events: Iterable[Event]) -> None:
        """Count events that are in the spool. Never raises for what is in them."""
        with self._lock:
            for event in events:
                self._add(event)

    def _add(self, event: Event) -> None:
        if event.get("type") == BUDGET_TYPE:
            self._marks[str(event.get("limit")), str(event.get("reached"))] += 1
            return
        if event.get("type") in (SESSION_TYPE, AUDIT_TYPE):
            return  # the one's answers count, the other is no call
        outcome = str(event.get("outcome"))
        self._calls[str(event.get("endpoint")), outcome] += 1
        if outcome == "refused":
            error = event.get("error")
            self._refused[str(error.get("code") if isinstance(error, Mapping) else None)] += 1
        self._gaps.update(gaps(event))
        usage = event.get("usage")
        if isinstance(usage, Mapping):
            self._sources[str(usage.get("source"))] += 1
            model = self._model(event)
            for side in ("input", "output"):
                if isinstance(count := usage.get(f"{side}_tokens"), int):
                    self._tokens[model, side] += count
        self._add_cost(event)

    def _model(self, event: Event) -> str:
        """The model as a label. Only priced ones: any other name may be a client's invention."""
        model, cost = event.get("model"), event.get("cost")
        if not isinstance(model, str) or not isinstance(cost, Mapping) or cost.get("usd") is None:
            return "other"
        if model not in self._models and len(self._models) >= LABELS:
            return "other"
        self._models.add(model)
        return model

    def _add_cost(self, event: Event) -> None:
        cost = event.get("cost")
        if not isinstance(cost, Mapping) or cost.get("usd") is None:
            return
        project = str(event.get("project_id") or "none")
        if project not in self._cost and len(self._cost) >= LABELS:
            project = "other"
        try:
            self._cost[project] = self._cost.get(project, Decimal(0)) + Decimal(str(cost["usd"]))
        except InvalidOperation:
            return

    def snapshot(self) -> dict[str, Any]:
        """All figures, as plain data: calls by endpoint and outcome, and so on."""
        with self._lock:
            return {
                "calls": _nested(self._calls),
                "refused": dict(self._refused),
                "gaps": dict.fromkeys(GAPS, 0) | dict(self._gaps),
                "usage_sources": dict(self._sources),
                "tokens": _nested(self._tokens),
                "budget_marks": _nested(self._marks),
                "cost_usd": {project: format(amount, "f") for project, amount in self._cost.items()},
            }


def _nested(counter: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (first, second), count in counter.items():
        nested.setdefault(first, {})[second] = count
    return nested

"""Count in memory what a proxy process has recorded: for ``llmproxy status``, health and metrics.

How an event is read for this stands here and nowhere else.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from msgspec import UNSET

from addons.recording.histograms import Histograms
from store.core.codes import GAP_OF, Outcome
from store.core.event import BaseRecord, BudgetRecord, UsageEvent
from store.usage.rollups import is_approximate, is_lower_bound

GAPS = {
    "undecodable": "the answer's content coding was broken or unknown",
    "unparsable": "the answer, or the call, could not be understood",
    "no_usage": "the answer was whole and reported no usage, though its kind is billed by tokens or length",
    "unpriced": "the usage is known and its price is not",
    "cut": "the answer broke off, or never came, before its usage",
}
"""It is what keeps an event from telling what its call cost for sure. Usage may have been counted all the
same."""

LABELS = 100
"""Distinct models, and distinct projects, that are counted apart; what comes later counts as `other`."""


def gaps(event: UsageEvent) -> list[str]:
    """Name the reasons, of :data:`GAPS`, why an event does not tell for sure what its call cost."""
    if event.outcome == Outcome.REFUSED:
        return []
    code = event.usage_missing_code
    gap = None if code is None else GAP_OF[code]
    found = [gap] if gap else []
    if event.cost is not None and event.cost.usd is None:
        found.append("unpriced")
    return found


MARKS = {"lower_bound": is_lower_bound, "approximate": is_approximate}
"""These are what an event may say of figures that it has: at least so much, or about so much."""


class Counters:
    """Counts events. Thread-safe: the worker adds, the event loop and the reporter read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[str] = Counter()
        self._gaps: Counter[str] = Counter()
        self._inexact: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._marks: Counter[tuple[str, str]] = Counter()
        self._cost: dict[str, Decimal] = {}
        self._saved: dict[str, Decimal] = {}
        self._models: set[str] = set()
        self._times = Histograms()

    def add(self, records: Iterable[BaseRecord]) -> None:
        """Count records that are in the spool."""
        with self._lock:
            for record in records:
                if isinstance(record, UsageEvent):
                    self._add(record)
                elif isinstance(record, BudgetRecord):
                    self._marks[str(record.limit), str(record.reached)] += 1

    def _add(self, event: UsageEvent) -> None:
        self._calls[str(event.endpoint), str(event.outcome)] += 1
        if event.outcome == Outcome.REFUSED:
            self._refused[str(event.error.code if event.error else None)] += 1
        else:
            self._times.add(event, self._model(event))
        self._gaps.update(gaps(event))
        self._inexact.update(mark for mark, is_marked in MARKS.items() if is_marked(event))
        usage = event.usage
        if usage is not None:
            self._sources[str(usage.source)] += 1
            model = self._model(event)
            for side, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
                if count is not None:
                    self._tokens[model, side] += count
        project = event.project_id or "none"
        if event.cost is not None:
            _add_amount(self._cost, project, event.cost.usd)
        if event.saved is not UNSET:
            _add_amount(self._saved, project, event.saved.usd)

    def _model(self, event: UsageEvent) -> str:
        """Give the model as a label. Only priced ones: any other name may be a client's invention."""
        model = event.model
        if model is None or event.cost is None or event.cost.usd is None:
            return "other"
        if model not in self._models and len(self._models) >= LABELS:
            return "other"
        self._models.add(model)
        return model

    def times(self, measure: str) -> list[tuple[list[str], list[tuple[str, float]], float]]:
        """Say how long calls took, by one of :data:`addons.recording.histograms.MEASURES`."""
        with self._lock:
            return list(self._times.of(measure))

    def snapshot(self) -> dict[str, Any]:
        """Give all figures, as plain data: calls by endpoint and outcome, and so on."""
        with self._lock:
            return {
                "calls": _nested(self._calls),
                "refused": dict(self._refused),
                "gaps": dict.fromkeys(GAPS, 0) | dict(self._gaps),
                "inexact": dict.fromkeys(MARKS, 0) | dict(self._inexact),
                "usage_sources": dict(self._sources),
                "tokens": _nested(self._tokens),
                "budget_marks": _nested(self._marks),
                "cost_usd": {project: format(amount, "f") for project, amount in self._cost.items()},
                "saved_usd": {project: format(amount, "f") for project, amount in self._saved.items()},
            }


def _add_amount(amounts: dict[str, Decimal], project: str, usd: str | None) -> None:
    """Add dollars to a project's, or, where there are too many projects, to the others'."""
    if usd is None:
        return
    if project not in amounts and len(amounts) >= LABELS:
        project = "other"
    try:
        amounts[project] = amounts.get(project, Decimal(0)) + Decimal(usd)
    except InvalidOperation:
        return


def _nested(counter: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (first, second), count in counter.items():
        nested.setdefault(first, {})[second] = count
    return nested

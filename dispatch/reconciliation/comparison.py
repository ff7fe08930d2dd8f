"""Compare our sums with the vendor's, by day and model, and name what explains each difference.

Some explanations have an amount, because the vendor's figures tell it: other keys, batches. The others are
found among our own calls; they say how many calls may have made the difference, not how much.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from dispatch.reconciliation.vendor import Amount, Usage

DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{4})$")
TOKENS = ("input_tokens", "output_tokens")
EXACT = ("other_keys", "batch_results")
"""Explanations whose amounts the vendor's figures tell."""
CENT = Decimal("0.01")
COUNTED = frozenset({"completions", "embeddings"})
"""Kinds of usage whose tokens both sides count."""

Measure = Literal["requests", "input_tokens", "output_tokens", "usd"]
Key = tuple[str, str]
"""Day and model; the model is empty for dollars."""


@dataclass(frozen=True, slots=True)
class Ours:
    """Holds sums of our calls of one model on one day."""

    day: str
    model: str
    batch: bool = False
    calls: int = 0
    """Without those that were refused here."""
    failed: int = 0
    unreported: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Row:
    """Holds one figure, of both sides."""

    day: str
    model: str
    measure: Measure
    ours: Decimal
    theirs: Decimal
    explained: tuple[str, ...] = ()
    """Codes of docs/reconcile.md, with the amount or the number of calls: ``other_keys=12``."""
    amount: Decimal = Decimal(0)
    """It says how much of the difference is explained by amounts."""

    @property
    def difference(self) -> Decimal:
        return self.theirs - self.ours

    @property
    def unexplained(self) -> Decimal:
        """Give what is left of the difference; zero where something without an amount may explain it."""
        return (
            Decimal(0)
            if any(not code.startswith(EXACT) for code in self.explained)
            else self.difference - self.amount
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "day": self.day,
            "model": self.model or None,
            "measure": self.measure,
            **{name: _number(getattr(self, name), self.measure) for name in ("ours", "theirs", "difference")},
            "explained_by": list(self.explained),
            "unexplained": _number(self.unexplained, self.measure),
        }


@dataclass(slots=True)
class Reconciliation:
    """Holds all figures of a time."""

    rows: list[Row] = field(default_factory=list)
    totals: list[Row] = field(default_factory=list)

    def beyond(self, tolerance: Decimal) -> list[Row]:
        """Give the totals whose difference is larger than this part of the vendor's figure."""
        return [row for row in self.totals if abs(row.difference) > tolerance * max(row.theirs, row.ours)]


@dataclass(frozen=True, slots=True)
class Pending:
    """Counts work whose usage is not known yet: batches, background responses."""

    objects: int = 0


def compare(
    ours: Sequence[Ours],
    usage: Iterable[Usage],
    costs: Iterable[Amount],
    *,
    keys: frozenset[str],
    pending: Pending = Pending(),
) -> Reconciliation:
    """Compare. `keys` are the vendor's ids of our project's key; without any, every key counts as ours."""
    sides = _Sides(keys)
    for one in ours:
        sides.add_ours(one)
    for found in usage:
        sides.add_usage(found)
    for amount in costs:
        sides.add_cost(amount)
    return sides.result(pending)


class _Sides:
    """Sums by measure and key, of both sides and of what explains them."""

    def __init__(self, keys: frozenset[str]) -> None:
        self._keys = keys
        self._sums: dict[str, dict[tuple[Measure, Key], Decimal]] = {
            name: {} for name in ("ours", "theirs", "other_keys", "their_batches", "our_batches")
        }
        self._calls: dict[Key, dict[str, int]] = {}

    def add_ours(self, one: Ours) -> None:
        key = (one.day, family(one.model))
        figures: dict[Measure, Decimal] = {
            "requests": Decimal(one.calls),
            "input_tokens": Decimal(one.input_tokens),
            "output_tokens": Decimal(one.output_tokens),
        }
        for measure, figure in figures.items():
            if one.batch and measure == "requests":
                continue  # one call fetches the results of many
            self._add("ours", measure, key, figure)
            if one.batch:
                self._add("our_batches", measure, key, figure)
        self._add("ours", "usd", (one.day, ""), one.usd)
        for place in (key, (one.day, "")):
            calls = self._calls.setdefault(place, {})
            for name in ("failed", "unreported", "unpriced"):
                calls[name] = calls.get(name, 0) + getattr(one, name)

    def add_usage(self, found: Usage) -> None:
        key = (found.day, family(found.model))
        for measure in ("requests", *TOKENS):
            if measure in TOKENS and found.kind not in COUNTED:
                continue
            if measure == "requests" and found.batch:
                continue
            figure = Decimal(getattr(found, measure))
            self._add("theirs", measure, key, figure)  # type: ignore[arg-type]
            if self._is_other(found.key):
                self._add("other_keys", measure, key, figure)  # type: ignore[arg-type]
            elif found.batch:
                self._add("their_batches", measure, key, figure)  # type: ignore[arg-type]

    def add_cost(self, amount: Amount) -> None:
        self._add("theirs", "usd", (amount.day, ""), amount.usd)
        if self._is_other(amount.key):
            self._add("other_keys", "usd", (amount.day, ""), amount.usd)

    def result(self, pending: Pending) -> Reconciliation:
        found = Reconciliation()
        places = sorted({*self._sums["ours"], *self._sums["theirs"]}, key=lambda place: (place[1], place[0]))
        groups: dict[tuple[Measure, str], list[Row]] = {}
        for measure, key in places:
            row = self._row(measure, key, pending)
            groups.setdefault((measure, row.model), []).append(row)
        for (measure, model), rows in sorted(groups.items(), key=lambda item: (item[0][1], item[0][0])):
            days = _across_midnight(rows)
            found.rows += days
            found.totals.append(_total(measure, model, days))
        return found

    def _row(self, measure: Measure, key: Key, pending: Pending) -> Row:
        place = (measure, key)
        ours, theirs = self._get("ours", place), self._get("theirs", place)
        other = self._get("other_keys", place)
        batches = self._get("their_batches", place) - self._get("our_batches", place)
        explained = [
            f"{name}={_number(amount, measure)}" for name, amount in _named(other, batches) if amount
        ]
        left = theirs - ours - other - batches
        if left:
            explained += _reasons(measure, left, self._calls.get(key, {}), pending)
        return Row(key[0], key[1], measure, ours, theirs, tuple(explained), other + batches)

    def _is_other(self, key: str | None) -> bool:
        return bool(self._keys) and key is not None and key not in self._keys

    def _add(self, name: str, measure: Measure, key: Key, figure: Decimal) -> None:
        sums = self._sums[name]
        sums[measure, key] = sums.get((measure, key), Decimal(0)) + figure

    def _get(self, name: str, place: tuple[Measure, Key]) -> Decimal:
        return self._sums[name].get(place, Decimal(0))


def family(model: str) -> str:
    """Name a model without its date: the two sides do not always both have it."""
    return DATE.sub("", model.lower())


def _named(other: Decimal, batches: Decimal) -> tuple[tuple[str, Decimal], ...]:
    return ("other_keys", other), ("batch_results", batches)


def _reasons(measure: Measure, left: Decimal, calls: Mapping[str, int], pending: Pending) -> list[str]:
    """Name what may explain the rest of a difference, with the number of calls."""
    if measure == "usd" and abs(left) < CENT:
        return ["rounding"]
    reasons = []
    if left > 0 and measure != "requests":
        reasons += [f"calls_without_usage={calls['unreported']}"] if calls.get("unreported") else []
        reasons += [f"failed_calls={calls['failed']}"] if calls.get("failed") else []
        reasons += [f"unfinished_work={pending.objects}"] if pending.objects else []
    if left > 0 and measure == "usd" and calls.get("unpriced"):
        reasons.append(f"unpriced_calls={calls['unpriced']}")
    if left < 0 and measure == "requests" and calls.get("failed"):
        reasons.append(f"failed_calls={calls['failed']}")
    return reasons


def _across_midnight(rows: list[Row]) -> list[Row]:
    """Explain differences of neighbouring days that make each other good.

    We count a call on the day on which it began, in UTC; the vendor when it ended, or by another time zone.
    """
    left = [row.difference - row.amount for row in rows]
    if sum(left) or not any(left):
        return rows
    return [
        row
        if not one
        else Row(
            row.day,
            row.model,
            row.measure,
            row.ours,
            row.theirs,
            (*row.explained, "day_boundary"),
            row.amount,
        )
        for row, one in zip(rows, left, strict=True)
    ]


def _total(measure: Measure, model: str, rows: Sequence[Row]) -> Row:
    codes: dict[str, Decimal] = {}
    for row in rows:
        for code in row.explained:
            name, _, number = code.partition("=")
            codes[name] = codes.get(name, Decimal(0)) + Decimal(number or 0)
    explained = tuple(
        f"{name}={_number(number, measure)}" if number else name
        for name, number in codes.items()
        if name != "day_boundary"
    )
    return Row(
        "total",
        model,
        measure,
        sum((row.ours for row in rows), Decimal(0)),
        sum((row.theirs for row in rows), Decimal(0)),
        explained,
        sum((row.amount for row in rows), Decimal(0)),
    )


def _number(value: Decimal, measure: Measure) -> str | int:
    if measure != "usd":
        return int(value)
    return f"{value.quantize(Decimal('0.000001')).normalize():f}"

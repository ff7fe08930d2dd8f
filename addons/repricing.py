"""Calls priced again from the usage that was kept: when prices are known that were not, or have changed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID, uuid5

from addons.cost import BUNDLED, Prices, cost_of
from store.event import SCHEMA, USAGE_TYPE

REPRICING = "llm_proxy_repricing"
NAMESPACE = UUID("5e0f5d51-7a5c-5b0c-9a86-6e1d7c1f0a52")
"""Of the ids of repricings: the same change of the same call has the same id, whenever it is found."""

COPIED = (
    *("request_id", "host", "endpoint", "model", "model_requested", "service_tier", "hosted_tools", "usage"),
    *("project_id", "project_name", "token_id", "token_metadata", "request_metadata", "user"),
)
"""What a repricing repeats of its call, so that sums can be kept without looking the call up."""

Json = Mapping[str, Any]


@dataclass(slots=True)
class Totals:
    """Of one run."""

    calls: int = 0
    unknown: int = 0
    """Calls whose cost was not known before."""
    repriced: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Why calls still have no price: the codes of `cost.reason`, `no_usage`, `bad_event`."""


@dataclass(frozen=True, slots=True)
class Repriced:
    """A call whose cost is another now."""

    event: Json
    """With the new cost."""
    before: Json | None
    number: int
    """How often the call has been repriced, this time included."""

    @property
    def record(self) -> dict[str, Any]:
        """The record for the spool: what it was, what it is, and by how much a sum changes."""
        call, cost = self.event, self.event["cost"]
        of = str(call.get("event_id"))
        identity = json.dumps([of, self.number, cost], sort_keys=True)
        before = usd(self.before)
        after = usd(cost)
        change = None if after is None else format(after - (before or Decimal(0)), "f")
        return {
            "schema": SCHEMA,
            "type": REPRICING,
            "event_id": str(uuid5(NAMESPACE, identity)),
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "of": of,
            "call_timestamp": call.get("timestamp"),
            **{name: call[name] for name in COPIED if name in call},
            "cost": cost,
            "cost_before": self.before,
            "usd_change": change,
        }


class Repricer:
    """Prices calls again, each at most once a run; knows what earlier runs have found."""

    def __init__(self, prices: Prices = BUNDLED, *, everything: bool = False) -> None:
        """`everything`: also calls whose cost is known; else only those whose cost is not."""
        self.totals = Totals()
        self._prices = prices
        self._everything = everything
        self._latest: dict[str, tuple[Json | None, int]] = {}
        self._seen: set[str] = set()

    def learn(self, records: Iterable[Json]) -> None:
        """Take note of earlier repricings among `records`; the last one of a call counts."""
        for record in records:
            if record.get("type") == REPRICING:
                of = str(record.get("of"))
                _, number = self._latest.get(of, (None, 0))
                self._latest[of] = (_mapping(record.get("cost")), number + 1)

    def reprice(self, records: Iterable[Json]) -> Iterator[Repriced]:
        """The calls among `records` whose cost is another now."""
        for record in records:
            event_id = str(record.get("event_id"))
            if record.get("type") != USAGE_TYPE or event_id in self._seen:
                continue
            self._seen.add(event_id)
            self.totals.calls += 1
            before, number = self._latest.get(event_id, (_mapping(record.get("cost")), 0))
            known = usd(before) is not None
            self.totals.unknown += not known
            if known and not self._everything:
                continue
            cost = self._cost(record)
            if cost is not None and usd(cost) != usd(before):
                self.totals.repriced += 1
                self._latest[event_id] = (cost, number + 1)
                yield Repriced({**record, "cost": cost}, before, number + 1)

    def _cost(self, record: Json) -> Json | None:
        """The cost now; None, and counted, where there is still none. A price is never taken back."""
        shown = record.get("usage_of")
        if isinstance(shown, Mapping) and shown.get("kind") == "batch":
            # The sum of many lines, which were priced one by one: a sum looks like one long input.
            self.totals.reasons["batch"] += 1
            return None
        try:
            cost = cost_of(record, self._prices)
        except ValueError:
            self.totals.reasons["bad_event"] += 1
            return None
        if cost is None:
            self.totals.reasons["no_usage"] += 1
        elif cost["usd"] is None:
            self.totals.reasons[cost["reason"]] += 1
        else:
            return cost
        return None


def usd(cost: Json | None) -> Decimal | None:
    """The amount of a cost, as a number."""
    try:
        number = Decimal(str((cost or {}).get("usd")))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _mapping(value: object) -> Json | None:
    return value if isinstance(value, Mapping) else None

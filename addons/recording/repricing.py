"""Price calls again from the usage that was kept: when prices are known that were not, or have changed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID, uuid5

from msgspec import UNSET

from addons.recording.cost import BUNDLED, Prices, cost_of
from store.core.event import REPRICING_TYPE, USAGE_TYPE, Cost, Fields, RepricingRecord, UsageEvent
from store.core.event_fields import read_record, to_fields
from store.core.times import rfc3339

NAMESPACE = UUID("5e0f5d51-7a5c-5b0c-9a86-6e1d7c1f0a52")
"""It is that of the ids of repricings: the same change of the same call has the same id, whenever it is
found."""

COPIED = (
    *("request_id", "host", "endpoint", "model", "model_requested", "service_tier", "hosted_tools", "usage"),
    *("project_id", "project_name", "token_id", "token_metadata", "request_metadata", "user"),
)
"""It is what a repricing repeats of its call, so that sums can be kept without looking the call up."""

Json = Mapping[str, Any]


@dataclass(slots=True)
class Totals:
    """Counts what one run did."""

    calls: int = 0
    unknown: int = 0
    """Calls whose cost was not known before."""
    repriced: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """It says why calls still have no price: the codes of `cost.reason`, `no_usage`, `bad_event`."""


@dataclass(frozen=True, slots=True)
class Repriced:
    """Holds a call whose cost is another now."""

    call: Json
    """As it was recorded, with its first cost: what sums were made from."""
    cost: Cost
    before: Json | None
    number: int
    """It says how often the call has been repriced, this time included."""

    @property
    def event(self) -> Fields:
        """Give the call with its new cost."""
        return {**self.call, "cost": to_fields(self.cost)}

    @property
    def record(self) -> RepricingRecord:
        """Give the record for the spool: what it was, what it is, and by how much a sum changes."""
        of = str(self.call.get("event_id"))
        identity = json.dumps([of, self.number, to_fields(self.cost)], sort_keys=True)
        after = usd(self.cost.usd)
        change = None if after is None else format(after - (_usd_in(self.before) or Decimal(0)), "f")
        return RepricingRecord(
            event_id=str(uuid5(NAMESPACE, identity)),
            timestamp=rfc3339(datetime.now(UTC)),
            of=of,
            call_timestamp=self.call.get("timestamp"),
            **{name: self.call[name] for name in COPIED if name in self.call},
            cost=self.cost,
            cost_before=self.before,
            usd_change=change,
        )


class Repricer:
    """Prices calls again, each at most once a run; knows what earlier runs have found."""

    def __init__(self, prices: Prices = BUNDLED, *, everything: bool = False) -> None:
        """Take `everything`: also calls whose cost is known; else only those whose cost is not."""
        self.totals = Totals()
        self._prices = prices
        self._everything = everything
        self._latest: dict[str, tuple[Json | None, int]] = {}
        self._seen: set[str] = set()

    def learn(self, records: Iterable[Json]) -> None:
        """Take note of earlier repricings among `records`; the last one of a call counts."""
        for record in records:
            if record.get("type") == REPRICING_TYPE:
                of = str(record.get("of"))
                _, number = self._latest.get(of, (None, 0))
                self._latest[of] = (_mapping(record.get("cost")), number + 1)

    def reprice(self, records: Iterable[Json]) -> Iterator[Repriced]:
        """Give the calls among `records` whose cost is another now."""
        for record in records:
            event_id = str(record.get("event_id"))
            if record.get("type") != USAGE_TYPE or event_id in self._seen:
                continue
            self._seen.add(event_id)
            self.totals.calls += 1
            before, number = self._latest.get(event_id, (_mapping(record.get("cost")), 0))
            known = _usd_in(before)
            self.totals.unknown += known is None
            if known is not None and not self._everything:
                continue
            cost = self._cost(read_record(record, UsageEvent))
            if cost is not None and usd(cost.usd) != known:
                self.totals.repriced += 1
                self._latest[event_id] = (to_fields(cost), number + 1)
                yield Repriced(record, cost, before, number + 1)

    def _cost(self, event: UsageEvent) -> Cost | None:
        """Give the cost now; None, and counted, where there is still none. A price is never taken back."""
        if event.usage_of is not None and event.usage_of.kind == "batch":
            # The sum of many lines, which were priced one by one: a sum looks like one long input.
            self.totals.reasons["batch"] += 1
            return None
        try:
            cost = cost_of(event, self._prices)
        except ValueError:
            self.totals.reasons["bad_event"] += 1
            return None
        if cost is None:
            self.totals.reasons["no_usage"] += 1
        elif cost.usd is None:
            self.totals.reasons["unknown" if cost.reason is UNSET else cost.reason] += 1
        else:
            return cost
        return None


def usd(amount: object) -> Decimal | None:
    """Read an amount as a number; None where it is none."""
    try:
        number = Decimal(str(amount))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _usd_in(cost: Json | None) -> Decimal | None:
    return usd(cost.get("usd")) if cost is not None else None


def _mapping(value: object) -> Json | None:
    return value if isinstance(value, Mapping) else None

"""Write usage as rows of FOCUS 1.2, the FinOps Open Cost and Usage Specification.

A row is what one token of one project has used of one model at one endpoint within an hour or a day of UTC.
Costs must not be null there: where calls have no price, or a lower bound of one, a row has what is known, its
``ChargeDescription`` says so, and columns of our own (``x_...``) count those calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from store.core.times import rfc3339
from store.database.engine import Connection
from store.usage.periods import HOUR, moment_of, next_of, start_of
from store.usage.reports import Usage, usage

VERSION = "1.2"
WAYS = ("project", "token", "model", "endpoint")
PERIODS = ("day", "hour")
CATEGORY, SUBCATEGORY = "AI and Machine Learning", "Generative AI"
OWN = {
    **{"calls": "x_Calls", "refused": "x_RefusedCalls", "failed": "x_FailedCalls"},
    **{"input_tokens": "x_InputTokens", "cached_tokens": "x_CachedInputTokens"},
    **{"output_tokens": "x_OutputTokens", "reasoning_tokens": "x_ReasoningTokens"},
    **{"seconds": "x_Seconds", "cache_hits": "x_CacheHits"},
    **{"unpriced": "x_UnpricedCalls", "unreported": "x_UnreportedCalls"},
    **{"lower_bound": "x_LowerBoundCalls", "approximate": "x_ApproximateCalls"},
}
"""Figures that FOCUS has no column for, by their names in reports."""
SAID = {
    "unpriced": "without a price",
    "lower_bound": "that are a lower bound",
    "unreported": "whose usage was counted or is not known",
    "approximate": "that are approximate",
}
"""It is what a description says of calls whose cost is not known for sure."""


@dataclass(frozen=True, slots=True)
class Bill:
    """Says what the sums do not tell: who sells, and to whom."""

    account: str
    """The vendor's id of the organisation that pays."""
    provider: str


def rows(connection: Connection, asked: Usage, period: str, bill: Bill) -> Iterator[dict[str, Any]]:
    """Give a row for each group that has calls beyond refused ones, in the order of time."""
    inherited = _Inherited(connection)
    for row in usage(connection, replace(asked, by=(period, *WAYS), zone=UTC)):
        if row["calls"] > row["refused"]:
            yield _row(row, period, bill, inherited.of(row["project"]))


def _row(row: Mapping[str, Any], period: str, bill: Bill, metadata: Mapping[str, str]) -> dict[str, Any]:
    hour = _hour(row[period])
    model, (amount, unit) = row["model"] or "unknown", _quantity(row)
    quantity = _decimal(amount)
    costs = dict.fromkeys(("BilledCost", "EffectiveCost", "ContractedCost", "ListCost"), _decimal(row["usd"]))
    return {
        **costs,
        "BillingAccountId": bill.account,
        "BillingAccountName": bill.account,
        "BillingCurrency": "USD",
        **_bounds("BillingPeriod", "month", start_of("month", hour)),
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": _description(row, model),
        "ChargeFrequency": "Usage-Based",
        **_bounds("ChargePeriod", period, hour),
        "ConsumedQuantity": quantity,
        "ConsumedUnit": unit,
        "InvoiceId": None,
        "InvoiceIssuerName": bill.provider,
        "PricingCategory": "Standard",
        "PricingQuantity": quantity,
        "PricingUnit": unit,
        "ProviderName": bill.provider,
        "PublisherName": bill.provider,
        "RegionId": None,
        "RegionName": None,
        "ResourceId": row["token"],
        "ResourceName": row["token"] and row["token_name"],
        "ResourceType": row["token"] and "Proxy token",
        "ServiceCategory": CATEGORY,
        "ServiceName": f"{bill.provider} API",
        "ServiceSubcategory": SUBCATEGORY,
        "SkuId": model,
        "SkuMeter": row["endpoint"],
        "SkuPriceId": model,
        "SubAccountId": row["project"],
        "SubAccountName": row["project"] and (row["project_name"] or row["project"]),
        "Tags": {**metadata, **(row["token_metadata"] or {})} or None,
        **{column: row[name] for name, column in OWN.items()},
    }


def _hour(name: str) -> int:
    """Return the first hour of a day or an hour of UTC, by its name in reports."""
    return int(datetime.fromisoformat(name).replace(tzinfo=UTC).timestamp()) // HOUR


def _bounds(column: str, period: str, hour: int) -> dict[str, str]:
    first, following = moment_of(hour), moment_of(next_of(period, hour))
    return {f"{column}End": _moment(following), f"{column}Start": _moment(first)}


def _moment(moment: datetime) -> str:
    return rfc3339(moment).replace(".000Z", "Z")


def _quantity(row: Mapping[str, Any]) -> tuple[Any, str]:
    """Give what was used in the unit that the model is billed by, as far as the sums tell."""
    if row["total_tokens"]:
        return row["total_tokens"], "Tokens"
    if row["seconds"]:
        return row["seconds"], "Seconds"
    return row["calls"] - row["refused"], "Requests"


def _decimal(value: Any) -> str:
    """Write a number so that whoever guesses types takes its column for decimals: ``105.0``."""
    text = str(value)
    return text if "." in text else f"{text}.0"


def _description(row: Mapping[str, Any], model: str) -> str:
    """Say what it is, and, where the cost is not known for sure, why."""
    parts = [f"{row[name]} of {row['calls']} calls {text}" for name, text in SAID.items() if row[name]]
    at_least = "; at least this cost" if row["unpriced"] or row["lower_bound"] else ""
    doubts = f" ({'; '.join(parts)}{at_least})" if parts else ""
    return f"{model}, {row['endpoint'] or 'other'}{doubts}"


class _Inherited:
    """Knows the metadata of projects, which their tokens' calls have, too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, Mapping[str, str]] = {}

    def of(self, project_id: str | None) -> Mapping[str, str]:
        if not project_id:
            return {}
        if project_id not in self._known:
            found = self._connection.rows("SELECT metadata FROM projects WHERE id = :id", id=project_id)
            self._known[project_id] = json.loads(found[0]["metadata"]) if found else {}
        return self._known[project_id]

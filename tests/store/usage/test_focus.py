"""Rows of FOCUS 1.2: what the specification requires of each, and what must not be hidden."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from store.database.engine import Connection
from store.database.engines import engine_of
from store.tokens.store import TokenStore
from store.usage.csv_text import write_csv
from store.usage.focus import Bill, rows
from store.usage.reports import Usage
from store.usage.rollups import RollUps, line_of
from tests.events import typed
from tests.store.usage.test_rollups import event

BILL = Bill("org-123", "OpenAI")
DECIMAL = r"\d+\.\d+"
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:00:00Z"
REQUIRED = {
    **dict.fromkeys(("BilledCost", "EffectiveCost", "ContractedCost", "ListCost"), DECIMAL),
    **dict.fromkeys(("ConsumedQuantity", "PricingQuantity"), DECIMAL),
    **dict.fromkeys(("BillingPeriodStart", "BillingPeriodEnd"), MOMENT),
    **dict.fromkeys(("ChargePeriodStart", "ChargePeriodEnd"), MOMENT),
    **dict.fromkeys(("ConsumedUnit", "PricingUnit"), "Tokens|Seconds|Requests"),
    **dict.fromkeys(("ProviderName", "PublisherName", "InvoiceIssuerName", "ServiceName"), ".+"),
    **dict.fromkeys(("BillingAccountId", "BillingAccountName", "SkuId", "SkuPriceId"), ".+"),
    **{"BillingCurrency": "[A-Z]{3}", "ChargeCategory": "Usage", "ChargeDescription": ".+"},
    **{"ChargeFrequency": "Usage-Based", "PricingCategory": "Standard"},
    **{"ServiceCategory": "AI and Machine Learning", "ServiceSubcategory": "Generative AI"},
}
"""Columns that the specification wants in each row of usage, and not null."""
NULLABLE = {
    *("ChargeClass", "InvoiceId", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType"),
    *("SubAccountId", "SubAccountName", "SkuMeter", "Tags"),
}


@pytest.fixture
def connection(store: TokenStore) -> Iterator[Connection]:
    connection = engine_of(store.location).connect()
    yield connection
    connection.close()


def count(connection: Connection, *events: dict[str, Any]) -> None:
    with connection.transaction():
        RollUps().add(connection, [line_of(typed(one)) for one in events])


def written(connection: Connection, period: str = "day") -> list[dict[str, str]]:
    """The rows as who reads the file gets them."""
    text = io.StringIO()
    write_csv(text, rows(connection, Usage(), period, BILL))
    text.seek(0)
    return list(csv.DictReader(text))


def test_each_row_has_what_the_specification_wants(store: TokenStore, connection: Connection) -> None:
    project = store.create_project("Suche", "sk-a", metadata={"team": "検索", "cost_centre": "4711"})
    token, _ = store.create_token(project.id, name="ranking", metadata={"team": "ranking"})
    mine = {"project_id": project.id, "token_id": token.id}
    count(
        connection,
        event(**mine),
        event(**mine, model="whisper-1", endpoint="transcriptions", usage={"seconds": 12.5}),
        event(**mine, model="dall-e-3", endpoint="images", usage={"images": 1}, cost={"usd": "0.04"}),
        event(project_id=None, token_id=None, model=None),
    )
    found = written(connection)
    assert len(found) == 4
    for row in found:
        for column, form in REQUIRED.items():
            assert re.fullmatch(form, row[column]), (column, row[column])
        own = {name for name in row if name.startswith("x_")}
        assert set(row) == REQUIRED.keys() | NULLABLE | own
        assert row["ResourceType"] == ("Proxy token" if row["ResourceId"] else "")
        assert bool(row["SubAccountId"]) == bool(row["SubAccountName"])
        assert row["BilledCost"] == row["EffectiveCost"] == row["ContractedCost"] == row["ListCost"]
    units = {row["SkuId"]: (row["ConsumedQuantity"], row["ConsumedUnit"]) for row in found}
    assert units == {
        "gpt-4o-mini": ("15.0", "Tokens"),
        "whisper-1": ("12.5", "Seconds"),
        "dall-e-3": ("1.0", "Requests"),
        "unknown": ("15.0", "Tokens"),
    }
    (named,) = (row for row in found if row["SkuId"] == "gpt-4o-mini")
    assert (named["SubAccountName"], named["ResourceName"]) == ("Suche", "ranking")
    assert json.loads(named["Tags"]) == {"team": "ranking", "cost_centre": "4711"}


def test_periods_are_those_of_utc(connection: Connection) -> None:
    count(connection, event(timestamp="2026-12-31T23:59:59Z"))
    (day,), (hour,) = written(connection), written(connection, "hour")
    assert (day["ChargePeriodStart"], day["ChargePeriodEnd"]) == (
        "2026-12-31T00:00:00Z",
        "2027-01-01T00:00:00Z",
    )
    assert (hour["ChargePeriodStart"], hour["ChargePeriodEnd"]) == (
        "2026-12-31T23:00:00Z",
        "2027-01-01T00:00:00Z",
    )
    for row in (day, hour):
        assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (
            "2026-12-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
        )


def test_what_is_not_known_is_told_and_never_hidden(connection: Connection) -> None:
    count(
        connection,
        event(model="new", cost={"usd": None, "reason": "model_unknown"}),
        event(model="tools", cost={"usd": "0.5", "reason": "lower_bound"}),
        event(model="tools", cost={"usd": "0.25", "approximate": ["service_tier"]}),
        event(model="cut", usage_missing_code="cut", cost={"usd": "0.1"}),
        event(model="refused", outcome="refused", usage=None, cost=None),
    )
    found = {row["SkuId"]: row for row in written(connection)}
    assert found.keys() == {"new", "tools", "cut"}, "what is refused costs nothing"
    assert (found["new"]["BilledCost"], found["new"]["x_UnpricedCalls"]) == ("0.0", "1")
    assert found["new"]["ChargeDescription"] == (
        "new, chat (1 of 1 calls without a price; at least this cost)"
    )
    assert (found["tools"]["BilledCost"], found["tools"]["x_LowerBoundCalls"]) == ("0.75", "1")
    assert found["tools"]["x_ApproximateCalls"] == "1"
    assert (
        "1 of 2 calls that are a lower bound; 1 of 2 calls that are approximate"
        in (found["tools"]["ChargeDescription"])
    )
    assert found["cut"]["x_UnreportedCalls"] == "1"


def test_rows_are_made_as_they_are_read(connection: Connection) -> None:
    count(connection, *(event(timestamp=f"2026-11-{day:02}T12:00:00Z") for day in range(1, 21)))
    found = rows(connection, Usage(since=datetime(2026, 11, 3, tzinfo=UTC)), "day", BILL)
    assert next(found)["ChargePeriodStart"] == "2026-11-03T00:00:00Z"
    assert len(list(found)) == 17

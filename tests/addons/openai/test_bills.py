"""The bills of bills.txt, which were worked out by hand, come out to the last digit.

Where a new release of genai-prices has another rate, the test says which: then the bill is to be worked out
anew.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import genai_prices
import pytest

from addons.openai.pricing.prices import Missing
from addons.openai.pricing.pricing import BUNDLED, Call, Cost, price

PER = {"mtok": 10**6, "mchars": 10**6, "hours": 3600, "kcount": 1000, "each": 1}
# The last release for Python 3.11 knows fewer models, units and tiers. What it lacks must then be unpriced.
OLD = "price_context" not in inspect.signature(genai_prices.calc_price).parameters
OF_TOOLS = ("web_searches_kcount", "web_search_preview_kcount", "storage_searches_kcount", "each")


@dataclass(frozen=True)
class Bill:
    name: str
    model: str
    usage: Mapping[str, Any]
    lines: Sequence[str]
    usd: str
    tier: str | None
    host: str
    at: str
    tools: Mapping[str, Any]

    @property
    def call(self) -> Call:
        moment = datetime.fromisoformat(self.at).replace(tzinfo=UTC)
        return Call(self.model, moment, service_tier=self.tier, host=self.host)


def read(block: str) -> Bill:
    """One bill of bills.txt: its name, what decides its price, its lines, its total."""
    name, *rest = block.splitlines()
    fields = dict(line.split(maxsplit=1) for line in rest if line and not line.startswith(" "))
    *lines, total = [line.strip() for line in rest if line.startswith(" ")]
    return Bill(
        name.strip(),
        fields["model"],
        json.loads(fields["usage"]),
        lines,
        total.rpartition("= ")[2],
        tier=fields.get("tier"),
        host=fields.get("host", "api.openai.com"),
        at=fields.get("at", "2026-11-01"),
        tools=json.loads(fields.get("tools", "{}")),
    )


FILE = Path(__file__).with_name("bills.txt")
BILLS = [read(block) for block in FILE.read_text().split("\n== ")[1:]]


def parts(line: str) -> tuple[Decimal, str, Decimal, Decimal]:
    count, key, rate, _, dollars = line.split()
    return Decimal(count), key, Decimal(rate), Decimal(dollars)


def changed(bill: Bill) -> str | None:
    """What stands in the price list now in place of what the bill was worked out by."""
    found = BUNDLED.find(bill.model, at=bill.call.at, tier=bill.tier, host=bill.host)
    if isinstance(found, Missing):
        return None if bill.model.startswith("dall-e") else found.text
    given = bill.usage.get("input_tokens", 0)
    for _, key, rate, _ in map(parts, bill.lines):
        if key in OF_TOOLS:
            continue
        now: Any = found.rates.get(key)
        if tiers := getattr(now, "tiers", None):
            now = ([tier.price for tier in tiers if given > tier.start] or [now.base])[-1]
        if now is None and key == "output_image_mtok":
            now = found.rates.get("output_mtok")
        if now != rate:
            return (
                f"{key} of {bill.model} (tier {bill.tier}) is {now} in {found.source}; the bill says {rate}"
            )
    return None


@pytest.mark.parametrize("bill", BILLS, ids=lambda bill: bill.name)
def test_arithmetic(bill: Bill) -> None:
    for count, key, rate, dollars in map(parts, bill.lines):
        assert count * rate / PER[key.rpartition("_")[2]] == dollars
    assert sum(parts(line)[3] for line in bill.lines) == Decimal(bill.usd)


@pytest.mark.parametrize("bill", BILLS, ids=lambda bill: bill.name)
def test_bill(bill: Bill) -> None:
    cost: Cost = price(bill.call, bill.usage, hosted_tools=bill.tools)
    if (difference := changed(bill)) is not None:
        if not OLD:
            pytest.fail(f"genai-prices {version('genai-prices')} has changed: {difference}")
        # Unknown, with a reason; or another price of that time, but never nothing.
        assert cost.usd is None or cost.usd > 0
        assert cost.usd is not None or cost.reason in {"model_unknown", "tier_unknown", "unit_unknown"}
        return
    assert cost.missing is None
    assert cost.as_dict()["usd"] == bill.usd


def test_every_dimension_has_a_bill() -> None:
    assert len(BILLS) >= 40
    assert {line.split()[1] for bill in BILLS for line in bill.lines} >= {
        *("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok"),
        *("input_audio_mtok", "output_audio_mtok", "cache_audio_read_mtok"),
        *("input_image_mtok", "output_image_mtok", "audio_hours", "input_mchars", "each"),
        *("web_searches_kcount", "web_search_preview_kcount", "storage_searches_kcount"),
    }
    assert {bill.tier for bill in BILLS} >= {"flex", "priority", "fast", "batch"}

"""Amounts of dollars and tokens, as they are written."""

from __future__ import annotations

import pytest

from store.core.errors import Invalid
from store.tokens import amounts
from store.tokens.amounts import Budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("5usd/day", Budget("usd", "day", 5 * amounts.NANO)),
        ("0.25USD/Hour", Budget("usd", "hour", amounts.NANO // 4)),
        ("100000tokens/month", Budget("tokens", "month", 100_000)),
        ("20 usd/total", Budget("usd", "total", 20 * amounts.NANO)),
    ],
)
def test_budgets_of_the_command_line(text: str, budget: Budget) -> None:
    assert amounts.parse_budget(text) == budget
    assert amounts.parse_budget(str(budget)) == budget


@pytest.mark.parametrize(
    "text", ["5", "5usd", "5eur/day", "5usd/year", "usd/day", "1.5tokens/day", "1.2.3usd/day"]
)
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(Invalid):
        amounts.parse_budget(text)


def test_a_topup_need_not_name_its_period() -> None:
    assert amounts.parse_budget("5usd", default_period="total").name == "usd/total"

from __future__ import annotations

from typing import Any

import pytest

from store.core.errors import Invalid
from store.tokens import limits
from store.tokens.amounts import Budget
from store.tokens.limits import Limits
from store.tokens.lookups import lookup_of
from store.tokens.store import TokenStore
from tests.store.engines import found, let_it_hold

ALL = {
    "expires_at": "2027-01-31T12:00:00.000Z",
    "max_requests": 1000,
    "requests_per_minute": 60,
    "tokens_per_minute": 100_000,
    "max_concurrent": 8,
    "budgets": {"usd": {"day": "5", "month": "99.50"}, "tokens": {"hour": 100_000}},
    "models": ["gpt-4o*", "o3"],
    "endpoints": ["inference", "models"],
    "max_output_tokens": 4096,
    "networks": ["10.0.0.0/8", "2001:db8::/32"],
    "budget_mode": "strict",
    "on_budget_end": "cut",
}


def test_as_written_so_read() -> None:
    made = limits.of(ALL)
    assert made.as_dict() == ALL
    assert limits.from_json(made.as_json()) == made
    assert limits.of({}) == limits.NONE == limits.from_json("{}")
    assert limits.NONE.as_json() == "{}"


def test_money_is_exact() -> None:
    made = limits.of({"budgets": {"usd": {"total": "0.1", "hour": "0.000000001"}}})
    assert made.budgets == (Budget("usd", "hour", 1), Budget("usd", "total", 100_000_000))
    assert made.as_dict() == {"budgets": {"usd": {"hour": "0.000000001", "total": "0.10"}}}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rpm": 5}, "'rpm'"),
        ({"requests_per_minute": 0}, "from 1 on"),
        ({"tokens_per_minute": True}, "whole number"),
        ({"max_concurrent": "3"}, "whole number"),
        ({"max_requests": -1}, "from 0 on"),
        ({"budgets": [5]}, "write"),
        ({"budgets": {"eur": {"day": 5}}}, "'eur'"),
        ({"budgets": {"usd": {"year": 5}}}, "'year'"),
        ({"budgets": {"usd": {"day": "five"}}}, "'five'"),
        ({"budgets": {"usd": {"day": "-1"}}}, "'-1'"),
        ({"budgets": {"usd": {"day": "NaN"}}}, "'NaN'"),
        ({"budgets": {"usd": {"day": "0.0000000001"}}}, "9 decimals"),
        ({"budgets": {"tokens": {"day": "1.5"}}}, "whole number"),
        ({"models": "gpt-4o"}, "list"),
        ({"models": [""]}, "printable"),
        ({"endpoints": ["a\nb"]}, "printable"),
        ({"networks": ["10.0.0.1/8"]}, "10.0.0.1/8"),
        ({"networks": ["intranet"]}, "intranet"),
        ({"budget_mode": "lax"}, "expected or strict"),
        ({"on_budget_end": "stop"}, "finish or cut"),
    ],
)
def test_what_is_no_limit_is_told_on_one_line(given: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid, match=r"(?i)use|write|give|units are") as error:
        limits.of(given)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_the_stricter_of_two() -> None:
    strict, lax = limits.of({"budget_mode": "strict", "max_output_tokens": 10}), limits.NONE
    assert limits.budget_mode(lax, strict) == "strict"
    assert limits.budget_mode(lax, lax) == "expected"
    assert limits.on_budget_end(limits.of({"on_budget_end": "cut"}), strict) == "cut"
    assert limits.max_output_tokens(strict, limits.of({"max_output_tokens": 5})) == 5
    assert limits.max_output_tokens(strict, lax) == 10
    assert limits.max_output_tokens(lax, lax) is None


def test_only_what_is_counted_needs_claims() -> None:
    assert not limits.of({"models": ["x"], "max_output_tokens": 5, "budget_mode": "strict"}).need_claims
    for name in ("requests_per_minute", "tokens_per_minute", "max_concurrent", "max_requests", "budgets"):
        assert limits.of({name: ALL[name]}).need_claims


def test_a_change_keeps_the_rest() -> None:
    made = limits.of(ALL).changed({"models": None, "budgets": ()})
    assert made.as_dict() == {name: v for name, v in ALL.items() if name not in ("models", "budgets")}


def test_limits_are_kept_and_seen_at_once(store: TokenStore) -> None:
    project = store.create_project("acme", "sk-live-1234567890", limits=limits.of({"max_concurrent": 5}))
    assert store.get_project("acme").limits == project.limits == Limits(max_concurrent=5)
    token, text = store.create_token(
        "acme", limits=limits.of(ALL | {"max_requests": None, "expires_at": None})
    )
    lookup = lookup_of(store.location)
    grant = found(lookup, text.reveal())
    assert grant
    assert grant.limits == (token.limits, project.limits)
    store.update_token(token.id, limits=Limits(requests_per_minute=1))
    store.update_project("acme", limits=limits.NONE)
    let_it_hold(store.location)
    grant = found(lookup, text.reveal())
    assert grant
    assert grant.limits == (Limits(requests_per_minute=1), limits.NONE)
    lookup.close()


def test_a_tokens_number_of_requests_is_a_column_of_its_own(store: TokenStore) -> None:
    store.create_project("acme", "sk-live-1234567890")
    with pytest.raises(Invalid, match="max_requests"):
        store.create_token("acme", limits=Limits(max_requests=1))

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from addons.recording.cost import BadPrices, Prices, cost_of, read_prices
from addons.recording.event_builder import event_of
from store.core.event import Cost
from tests import corpus
from tests.addons.recording.test_event_builder import exchange
from tests.events import typed

EVENT: dict[str, Any] = {
    "timestamp": "2026-11-01T12:00:00.000Z",
    "model": "gpt-4o-mini",
    "host": "api.openai.com",
    "path": "/v1/chat/completions",
    "service_tier": None,
    "usage": {"input_tokens": 1_000_000, "output_tokens": 0},
}


def test_an_event_tells_its_cost_again() -> None:
    found = cost_of(typed(EVENT))
    assert found is not None
    assert (found.usd, found.missing, found.reason) == ("0.15", UNSET, UNSET)
    live = event_of(exchange())
    assert cost_of(live) == live.cost
    assert cost_of(typed(EVENT | {"usage": None})) is None


def test_hosted_tools_and_prices_of_ones_own(tmp_path: Path) -> None:
    searched = cost_of(typed(EVENT | {"hosted_tools": {"file_search_calls": 2}}))
    assert searched is not None
    assert searched.usd == "0.155"
    file = tmp_path / "prices.yaml"
    file.write_text("{id: openai, models: [{id: gpt-4o-mini, prices: {input_mtok: 3, output_mtok: 3}}]}")
    prices = read_prices(file)
    assert cost_of(typed(EVENT), prices) == Cost("3", "llm_prices/prices.yaml")
    live = event_of(exchange(), prices=prices)
    assert live.cost is not None
    assert live.cost.price_source == "llm_prices/prices.yaml"


@pytest.mark.parametrize("moment", [None, "soon", 5])
def test_an_event_without_a_time_has_no_price(moment: object) -> None:
    with pytest.raises(ValueError):
        cost_of(typed(EVENT | {"timestamp": moment}))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPrices, match=r"gone\.yaml: No such file or directory"):
        read_prices(tmp_path / "gone.yaml")
    file = tmp_path / "binary"
    file.write_bytes(b"id: \xff")
    with pytest.raises(BadPrices, match=r"binary: byte 4: not UTF-8"):
        read_prices(file)
    file.write_text("[]")
    with pytest.raises(BadPrices, match=r"binary: it must hold a list of providers"):
        read_prices(file)


@pytest.mark.slow
def test_recorded_calls_to_openai_are_priced_or_say_why() -> None:
    """Reported usage of a model that has a name of OpenAI's: nearly all of it has a price."""
    priced = unpriced = 0
    for one in corpus.load():
        summary = corpus.summary(one)
        if summary.usage is None or summary.usage.source != "api" or one["host"] != "api.openai.com":
            continue
        said = {"model": summary.model, "service_tier": summary.service_tier}
        used = {"usage": summary.usage.as_dict(), "hosted_tools": summary.hosted_tools}
        cost = cost_of(typed(EVENT | said | used))
        assert cost is not None
        assert cost.usd != "0" or not summary.usage.input_tokens
        priced += cost.usd is not None
        unpriced += cost.usd is None
    assert priced > 500
    assert unpriced < priced / 5


def test_the_input_alone_is_a_lower_bound() -> None:
    event = EVENT | {"usage": {"input_tokens": 1_000_000, "output_tokens": None}}
    cost = cost_of(typed(event))
    assert cost is not None
    assert (cost.usd, cost.reason) == ("0.15", "lower_bound")
    unpriced = cost_of(typed({**event, "model": "unheard-of"}))
    assert unpriced is not None
    assert unpriced.usd is None
    assert cost_of(typed({**event, "usage": None})) is None


ASKED: dict[str, Any] = EVENT | {"model": "gpt-4o", "service_tier_requested": "priority"}


def priced_by(tmp_path: Path, rates: str) -> Prices:
    """Prices of one's own, which every Python knows: gpt-4o at 2, and in a tier as in `rates`."""
    file = tmp_path / "prices.yaml"
    variant = f"{{when: {{service_tier: priority}}, prices: {{{rates}}}}}"
    plain = "{input_mtok: 2, output_mtok: 2}"
    file.write_text(
        f"[{{id: openai, models: [{{id: gpt-4o, prices: {plain}, price_variants: [{variant}]}}]}}]"
    )
    return read_prices(file)


@pytest.mark.parametrize(
    ("rates", "reason", "approximate"),
    [
        ("input_mtok: 4", "lower_bound", UNSET),
        ("input_mtok: 1", UNSET, ["service_tier"]),
        ("input_mtok: 2", UNSET, UNSET),
    ],
)
def test_a_tier_that_no_answer_names(tmp_path: Path, rates: str, reason: Any, approximate: Any) -> None:
    cost = cost_of(typed(ASKED), priced_by(tmp_path, rates))
    assert cost is not None
    assert (cost.usd, cost.reason, cost.approximate) == ("2", reason, approximate)
    if reason == "lower_bound":
        assert "'priority'" in str(cost.missing)


def test_a_tier_that_is_named_or_not_asked_for_leaves_nothing_open(tmp_path: Path) -> None:
    prices = priced_by(tmp_path, "input_mtok: 4")
    for said in (
        {"service_tier": "default"},
        {"service_tier_requested": UNSET},
        {"service_tier": "priority"},
    ):
        cost = cost_of(typed(ASKED | said), prices)
        assert cost is not None
        assert (cost.reason, cost.approximate) == (UNSET, UNSET)


def test_a_lower_bound_names_the_tier_beside_what_else_is_missing(tmp_path: Path) -> None:
    event = ASKED | {"usage": {"input_tokens": 1_000_000, "output_tokens": None}}
    cost = cost_of(typed(event), priced_by(tmp_path, "input_mtok: 4"))
    assert cost is not None
    assert str(cost.missing).startswith(
        "a lower bound; missing: the output; what the service tier 'priority'"
    )

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from addons.cost import BadPrices, cost_of, read_prices
from addons.event import event_of
from tests import corpus
from tests.addons.test_event import exchange

EVENT: dict[str, Any] = {
    "timestamp": "2026-11-01T12:00:00.000Z",
    "model": "gpt-4o-mini",
    "host": "api.openai.com",
    "path": "/v1/chat/completions",
    "service_tier": None,
    "usage": {"input_tokens": 1_000_000, "output_tokens": 0},
}


def test_an_event_tells_its_cost_again() -> None:
    assert cost_of(EVENT) == {"usd": "0.15", "price_source": cost_of(EVENT)["price_source"]}  # type: ignore[index]
    live = event_of(exchange())
    assert cost_of(live) == live["cost"]
    assert cost_of(EVENT | {"usage": None}) is None


def test_hosted_tools_and_prices_of_ones_own(tmp_path: Path) -> None:
    searched = cost_of(EVENT | {"hosted_tools": {"file_search_calls": 2}})
    assert searched is not None
    assert searched["usd"] == "0.155"
    file = tmp_path / "prices.yaml"
    file.write_text("{id: openai, models: [{id: gpt-4o-mini, prices: {input_mtok: 3, output_mtok: 3}}]}")
    prices = read_prices(file)
    assert cost_of(EVENT, prices) == {"usd": "3", "price_source": "llm_prices/prices.yaml"}
    assert event_of(exchange(), prices=prices)["cost"]["price_source"] == "llm_prices/prices.yaml"


@pytest.mark.parametrize("moment", [None, "soon", 5])
def test_an_event_without_a_time_has_no_price(moment: object) -> None:
    with pytest.raises(ValueError):
        cost_of(EVENT | {"timestamp": moment})


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


def test_recorded_calls_to_openai_are_priced_or_say_why() -> None:
    """Reported usage of a model that has a name of OpenAI's: nearly all of it has a price."""
    priced = unpriced = 0
    for one in corpus.load():
        summary = corpus.summary(one)
        if summary.usage is None or summary.usage.source != "api" or one["host"] != "api.openai.com":
            continue
        cost = cost_of(
            EVENT
            | {
                "model": summary.model,
                "service_tier": summary.service_tier,
                "usage": summary.usage.as_dict(),
                "hosted_tools": summary.hosted_tools,
            }
        )
        assert cost is not None
        assert cost["usd"] != "0" or not summary.usage.input_tokens
        priced += cost["usd"] is not None
        unpriced += cost["usd"] is None
    assert priced > 500
    assert unpriced < priced / 5


def test_the_input_alone_is_a_lower_bound() -> None:
    event = EVENT | {"usage": {"input_tokens": 1_000_000, "output_tokens": None}}
    cost = cost_of(event)
    assert cost is not None
    assert (cost["usd"], cost["reason"]) == ("0.15", "lower_bound")
    unpriced = cost_of({**event, "model": "unheard-of"})
    assert unpriced is not None
    assert unpriced["usd"] is None
    assert cost_of({**event, "usage": None}) is None

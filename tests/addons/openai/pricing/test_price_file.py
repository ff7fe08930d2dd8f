from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.pricing.price_file import BadPrices, normalise, parse
from addons.openai.pricing.prices import Found, Prices
from addons.openai.pricing.pricing import Call, Cost, price

NOW = datetime(2026, 11, 1, tzinfo=UTC)
MILLION = {"input_tokens": 10**6, "output_tokens": 0}
DOCS = Path(__file__).parents[4] / "docs" / "cost.md"


def cost(prices: Prices, model: str, used: dict[str, Any] = MILLION, **call: Any) -> Cost:
    return price(Call(model, call.pop("at", NOW), **call), used, prices=prices)


def openai(*models: dict[str, Any]) -> str:
    return json.dumps([{"id": "openai", "models": list(models)}])


def test_the_example_of_the_documents() -> None:
    example = DOCS.read_text().split("```yaml\n")[1].split("```")[0]
    prices = parse(example, "mine.yaml")
    assert cost(prices, "gpt-4o").as_dict() == {"usd": "2", "price_source": "llm_prices/mine.yaml"}
    assert cost(prices, "gpt-4o", service_tier="flex").usd == 1
    assert cost(prices, "gpt-4o", service_tier="priority").source != "llm_prices/mine.yaml"
    ours = {"host": "gpu.example.com", "path": "/v1/chat/completions"}
    assert cost(prices, "llama-9b", **ours).usd == Decimal("0.2")
    short = {"input_tokens": 1000, "output_tokens": 0}
    assert cost(prices, "llama-9b", short, **ours).usd == Decimal("0.0001")
    assert cost(prices, "llama-9b", {"input_tokens": 128001, "output_tokens": 0}, **ours).usd == Decimal(
        "0.0256002"
    )
    free = cost(prices, "llama-9b", at=datetime(2027, 2, 1, tzinfo=UTC), **ours)
    assert free.as_dict() == {"usd": "0", "price_source": "llm_prices/mine.yaml"}
    assert cost(prices, "gpt-4o-mini").source.startswith("genai-prices/")


def test_own_prices_go_first_and_for_dated_names_too() -> None:
    prices = parse(openai({"id": "gpt-4o", "prices": {"input_mtok": 7}}), "p.json")
    for name in ("gpt-4o", "gpt-4o-2024-08-06", "GPT-4o"):
        assert cost(prices, name).usd == 7
    assert cost(prices, "gpt-4o", host="acme.openai.azure.com").usd == 7
    assert cost(prices, "gpt-4o-mini").usd == Decimal("0.15")


def test_a_model_that_is_known_nowhere_else() -> None:
    model = {"id": "m", "match": {"or": [{"equals": "ours"}, {"regex": "^ours-v\\d+$"}]}}
    prices = parse(openai({**model, "prices": {"input_mtok": "0.10", "web_searches_kcount": 4}}), "p.json")
    assert cost(prices, "ours-v12").usd == Decimal("0.1")
    assert cost(prices, "ours-vX").usd is None
    searched = price(Call("ours", NOW), MILLION, hosted_tools={"web_search_calls": 1000}, prices=prices)
    assert searched.usd == Decimal("4.1")


def test_numbers_are_taken_as_they_are_written() -> None:
    for text in ('[{"id":"openai","models":[{"id":"x","prices":{"input_mtok":0.1}}]}]', YAML):
        assert cost(parse(text, "x"), "x").usd == Decimal("0.1")


YAML = "id: openai\nmodels:\n- id: x\n  prices:\n    input_mtok: 0.1\n"


def bad(change: str, to: str) -> str:
    assert change in YAML
    return YAML.replace(change, to)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it must hold a list of providers, each with id and models"),
        ("hello", "it must hold a list of providers, each with id and models"),
        ("[]", "it must hold a list of providers, each with id and models"),
        ('[{"id": "openai",]', "line 1, column 18: not JSON: "),
        ("id: [openai\nmodels: {", "line 2, column "),
        (bad("id: openai\n", ""), "[0].id: write a name"),
        (bad("id: openai\n", "id: x\napi_pattern: '('\n"), "[0].api_pattern: '(' is no regular expression"),
        ("id: openai", "[0].models: write a list of models"),
        (bad("- id: x\n ", "- "), "[0].models[0].id: write a name"),
        ("id: openai\nmodels: [{id: x}]", "[0].models[0]: model 'x' has no prices"),
        (
            "id: openai\nmodels: [{id: x, prices: {input_mtok: 1}, price_variants: 3}]",
            "[0].models[0].price_variants: write a list of prices, each with when",
        ),
        (bad("input_mtok", "imput_mtok"), "[0].models[0].prices.imput_mtok: no such price; use "),
        (bad("input_mtok", "input_mtoks"), "[0].models[0].prices.input_mtoks: no such price; use "),
        (bad("0.1", "cheap"), "[0].models[0].prices.input_mtok: 'cheap' is no price; write US dollars"),
        (bad("0.1", "-1"), "[0].models[0].prices.input_mtok: -1 is no price"),
        (bad("0.1", ".nan"), "[0].models[0].prices.input_mtok: nan is no price"),
        (bad("0.1", "true"), "[0].models[0].prices.input_mtok: True is no price"),
        (bad("0.1", "{base: 1}"), "[0].models[0].prices.input_mtok: write a number, or base and tiers"),
        (
            bad("0.1", "{base: 1, tiers: [{start: x, price: 1}]}"),
            "[0].models[0].prices.input_mtok.tiers[0].start: write the number of input tokens",
        ),
        (bad("  prices:", "  match: {is: x}\n  prices:"), "[0].models[0].match: use one of equals, "),
        (
            bad("  prices:", "  match: {regex: '('}\n  prices:"),
            "[0].models[0].match: '(' is no regular expression",
        ),
        (
            bad("  prices:", "  match: {or: [{}]}\n  prices:"),
            "[0].models[0].match.or[0]: use one of equals, ",
        ),
        (bad("  prices:", "  match: x\n  prices:"), "[0].models[0].match: use one of equals, "),
        (
            bad("prices:\n    input_mtok: 0.1", "prices: [{constraint: {start_date: soon}, prices: {}}]"),
            "[0].models[0].prices[0].constraint: write start_date: ",
        ),
        (
            bad("  prices:", "  price_variants: [{when: flex}]\n  prices:"),
            "[0].models[0].price_variants[0].when: write keys and values here, not str",
        ),
        (
            bad("  prices:", "  price_variants: {when: flex}\n  prices:"),
            "[0].models[0].price_variants: write a list of prices, each with when",
        ),
        ("[" * 100_000, "it is nested too deep"),
    ],
)
def test_a_bad_file_names_place_and_remedy_on_one_line(text: str, said: str) -> None:
    with pytest.raises(BadPrices) as raised:
        parse(text, "p")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("id", "models", "match", "prices", "input_mtok", "constraint", "start_date"),
                    *("price_variants", "when", "api_pattern", "equals", "regex", "or", "tiers", "base"),
                ]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@given(JSON | st.text())
def test_any_file_is_read_or_refused(content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    try:
        prices = parse(text, "p")
    except BadPrices:
        return
    found = cost(prices, "gpt-4o")
    assert found.usd is not None or found.reason


def test_a_newer_list_goes_before_the_bundled_prices_and_after_ones_own() -> None:
    text = '[{"id": "openai", "models": [{"id": "gpt-4o", "prices": {"input_mtok": 9}}]}]'
    newer = parse(text, "prices/newer")
    found = Prices().with_list(newer).find("gpt-4o", at=NOW, tier=None)
    assert isinstance(found, Found)
    assert (found.source, found.rates["input_mtok"], found.own) == ("prices/newer", 9, False)
    own = parse(text.replace("9", "7"), "own.json").with_list(newer).find("gpt-4o", at=NOW, tier=None)
    assert isinstance(own, Found)
    assert (own.source, own.rates["input_mtok"]) == ("llm_prices/own.json", 7)
    other = Prices().with_list(newer).find("gpt-4o-mini", at=NOW, tier=None)
    assert isinstance(other, Found)
    assert other.source.startswith("genai-prices/")


def test_what_a_newer_list_has_and_this_version_does_not_know_is_left_out_and_named() -> None:
    models = [
        {"id": "a", "prices": {"input_mtok": 1, "teleport_mtok": 2}},
        {"id": "b", "match": {"sounds_like": "b"}, "prices": {"input_mtok": 1}},
        {"id": "c", "prices": [{"prices": {"output_mtok": 0.1}, "constraint": {"start_date": "2026-01-31"}}]},
    ]
    text, left_out = normalise(
        json.dumps([{"id": "openai", "models": models, "pricing_urls": []}, {"id": 3}])
    )
    assert [model["id"] for model in json.loads(text)[0]["models"]] == ["a", "c"]
    assert [line.partition(":")[0] for line in left_out] == [
        "[0].models[0] a",
        "[0].models[1].match",
        "[1].models" if left_out[-1].startswith("[1].models") else "[1].id",
    ]
    rates = parse(text, "x").find("c", at=NOW, tier=None)
    assert isinstance(rates, Found)
    assert rates.rates == {"output_mtok": Decimal("0.1")}


@pytest.mark.parametrize(
    "text", ["[]", "{}", "3", '[{"id": "openai", "models": [{"id": "x"}]}]', '{"a": {}}']
)
def test_a_list_without_a_price_is_none(text: str) -> None:
    with pytest.raises(BadPrices):
        normalise(text)


def test_prices_of_hours_hold_within_them() -> None:
    hours = {"start_time": "16:30:00Z", "end_time": "23:30:00Z"}
    rates = [{"prices": {"input_mtok": 2}}, {"constraint": hours, "prices": {"input_mtok": 1}}]
    prices = parse(openai({"id": "x", "prices": rates}), "p.json")
    assert cost(prices, "x", at=NOW.replace(hour=12)).usd == 2
    assert cost(prices, "x", at=NOW.replace(hour=20)).usd == 1
    with pytest.raises(BadPrices, match="start_time and end_time: 16:30:00Z"):
        parse(openai({"id": "x", "prices": [{"constraint": {"start_time": "16:30:00Z"}, "prices": {}}]}), "p")


def test_a_list_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(BadPrices, match="nested too deep"):
        normalise("[" * 100_000)


def test_prices_of_an_unknown_form_are_left_out_and_named() -> None:
    models = [
        {"id": "good", "prices": {"input_mtok": 1}},
        {"id": "text", "prices": "cheap"},
        {"id": "listed", "prices": [{"prices": "cheap"}]},
        {"id": "variant", "prices": {"input_mtok": 1}, "price_variants": {"when": "flex"}},
    ]
    text, left_out = normalise(openai(*models))
    assert [model["id"] for model in json.loads(text)[0]["models"]] == ["good"]
    assert len(left_out) == 3


def test_a_newer_list_knows_hosts() -> None:
    provider = {"id": "acme", "api_pattern": "https://llm[.]acme[.]example/", "models": []}
    model = {"id": "x", "prices": {"input_mtok": 3}}
    newer = parse(json.dumps([{**provider, "models": [model]}]), "prices/newer")
    assert Prices().with_list(newer).provider_of("llm.acme.example", "/v1/responses") == "acme"
    assert Prices().with_list(newer).provider_of("llm.acme.test", "/v1/responses") == "openai"

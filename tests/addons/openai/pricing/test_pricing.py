"""Costs: what has no price has a reason, what leaves something out says so, and nothing is ever free."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.pricing import price_table
from addons.openai.pricing.pricing import BUNDLED, Call, Cost, price

NOW = datetime(2026, 11, 1, tzinfo=UTC)
# The last release for Python 3.11 knows no tiers, no images and no seconds.
OLD = "price_context" not in inspect.signature(genai_prices.calc_price).parameters


def usage(given: int, written: int, **details: Any) -> dict[str, Any]:
    return {"input_tokens": given, "output_tokens": written, **details}


def cost(model: str | None, used: dict[str, Any], *, tools: Any = None, **call: Any) -> Cost:
    return price(Call(model, NOW, **call), used, hosted_tools=tools)


def usd(model: str, used: dict[str, Any], **call: Any) -> Decimal:
    found = cost(model, used, **call)
    assert found.usd is not None, found.missing
    return found.usd


@pytest.mark.parametrize(
    "name",
    [
        *("gpt-4o-mini", "GPT-4o-mini", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"),
        *("gpt-4o-mini-2031-01-01", "gpt-4o-mini-20310101"),
    ],
)
def test_names(name: str) -> None:
    assert usd(name, usage(1_000_000, 0)) == Decimal("0.15")


@pytest.mark.parametrize("tier", ["default", "auto", "standard", "on_demand", "", None])
def test_names_of_the_standard_tier(tier: str | None) -> None:
    assert usd("gpt-5", usage(1000, 1000), service_tier=tier) == Decimal("0.01125")


@pytest.mark.parametrize(
    ("model", "used", "call", "reason", "missing"),
    [
        ("a-model-of-ours", usage(1, 1), {}, "model_unknown", "no price is known for 'a-model-of-ours'"),
        ("ft:gpt-4o:acme::x", usage(1, 1), {}, "model_unknown", "no price is known for 'ft:gpt-4o:acme::x'"),
        (
            "a-model",
            usage(1, 1),
            {"service_tier": "flex"},
            "model_unknown",
            "no price is known for 'a-model'",
        ),
        (None, usage(1, 1), {}, "model_unknown", "the model is not known"),
        ("gpt-4o", {"input_tokens": None, "output_tokens": None}, {}, "no_usage", "no tokens are known"),
        (
            *("gpt-4o", {"input_tokens": None, "output_tokens": None, "seconds": 3}, {}),
            *("unit_unknown", "no price of seconds of audio is known for this model"),
        ),
        (
            *("gpt-5", usage(1, 1), {"service_tier": "scale"}),
            *("tier_unknown", "no price of the service tier 'scale' is known for 'gpt-5'"),
        ),
        (
            *("gpt-5", usage(1, 1), {"service_tier": "priority", "host": "acme.openai.azure.com"}),
            *("tier_unknown", "no price of the service tier 'priority' is known for 'gpt-5'"),
        ),
        (
            *("gpt-4o", usage(10, 1, input_tokens_details={"cached_tokens": 500}), {}),
            *("bad_usage", "the parts of the usage are larger than the whole"),
        ),
        # genai-prices gives zero for the next four.
        ("whisper-1", usage(10, 1), {}, "unit_unknown", "no price of input is known for this model"),
        (
            "text-embedding-3-small",
            usage(0, 1),
            {},
            "unit_unknown",
            "no price of output is known for this model",
        ),
        ("omni-moderation-latest", usage(10, 1), {}, "model_unknown", None),
        ("gpt-4o", usage(9, 1, input_tokens_details={"video_tokens": 5}), {}, "unit_unknown", None),
        # Audio at the price of text would be a fraction of the truth.
        ("gpt-4o", usage(9, 1, input_tokens_details={"audio_tokens": 5}), {}, "unit_unknown", None),
        ("dall-e-3", {"images": 1, "size": "1x1"}, {}, "unit_unknown", None),
        ("midjourney", {"images": 1}, {}, "unit_unknown", None),
        # Open weights bear OpenAI's name, but whoever serves them has a price of his own.
        ("gpt-oss-120b", usage(1, 1), {"host": "gpu.example.com"}, "model_unknown", None),
        ("gpt-4o", usage(1, 1), {"host": "api.groq.com"}, "model_unknown", None),
    ],
)
def test_no_price_is_null_with_the_reason(
    model: str | None, used: dict[str, Any], call: dict[str, Any], reason: str, missing: str | None
) -> None:
    found = cost(model, used, **call)
    assert (found.usd, found.source, found.reason) == (None, "unknown", reason)
    assert found.missing == missing or missing is None
    assert found.as_dict() == {
        "usd": None,
        "price_source": "unknown",
        "missing": found.missing,
        "reason": reason,
    }


def test_a_tier_that_the_price_list_lacks_is_not_the_standard() -> None:
    found = cost("gpt-5-pro", usage(1000, 1000), service_tier="priority")
    assert (found.usd, found.reason) == (None, "tier_unknown")


@pytest.mark.skipif(OLD, reason="this genai-prices knows no tiers")
@pytest.mark.parametrize(("tier", "dollars"), [("priority", "22.5"), ("flex", "5.625")])
def test_a_tier_is_priced_for_the_time_before_the_price_list_knew_it(tier: str, dollars: str) -> None:
    """$1.25 and $10 per million tokens then as now; twice that for priority, half for flex."""
    for month in (datetime(2025, 11, 1, tzinfo=UTC), NOW):
        found = price(
            Call("gpt-5-2025-08-07", month, service_tier=tier), usage(1_000_000, 1_000_000), hosted_tools=None
        )
        assert found.usd == Decimal(dollars)


def test_cached_tokens_that_are_not_told_apart_are_taken_for_text() -> None:
    """The dearest reading: text loses the least by being cached."""
    details = {"audio_tokens": 60, "cached_tokens": 50}
    expected = 40 * Decimal("0.4") + 10 * Decimal("0.4") + 50 * Decimal(32)
    assert usd("gpt-realtime", usage(100, 0, input_tokens_details=details)) == expected / 10**6


def test_reasoning_beside_the_output() -> None:
    """x.ai counts it apart, and only the total tells."""
    details = {"output_tokens_details": {"reasoning_tokens": 373}}
    apart = usd("grok-3-mini", usage(429, 44, total_tokens=846, **details), host="api.x.ai")
    within = usd("grok-3-mini", usage(429, 417, total_tokens=846, **details), host="api.x.ai")
    assert apart == within


def test_what_was_not_counted_makes_a_lower_bound() -> None:
    counted = usage(10, 1, source="estimate", missing=["images"])
    found = cost("gpt-4o", counted)
    assert found.usd == usd("gpt-4o", usage(10, 1))
    assert (found.reason, found.missing) == ("lower_bound", "a lower bound; missing: images")
    spoken = cost(
        "tts-1", {"input_tokens": None, "output_tokens": None, "characters": 5, "source": "counted"}
    )
    assert spoken.missing is None
    half = cost("gpt-4o", {"input_tokens": 10, "output_tokens": None, "source": "estimate"})
    assert half.missing == "a lower bound; missing: the output"
    hidden = cost("gpt-4o", usage(10, 1, complete=False))
    assert hidden.missing == "a lower bound; missing: what is hidden"


def test_tools_without_a_price_make_a_lower_bound() -> None:
    found = cost("gpt-4.1", usage(10, 1), tools={"image_generation_calls": 1, "web_search_calls": 1})
    assert found.usd == usd("gpt-4.1", usage(10, 1)) + Decimal("0.01")
    assert found.reason == "lower_bound"
    assert "generated images" in str(found.missing)
    elsewhere = cost(
        "gpt-4o", usage(10, 1), tools={"web_search_calls": 2, "containers": 1}, host="a.openai.azure.com"
    )
    if OLD:
        assert elsewhere.missing == "a lower bound; missing: 2 web searches; 1 container sessions"
    else:
        assert elsewhere.missing == "a lower bound; missing: 1 container sessions"
    odd = cost("gpt-4o", usage(10, 1), tools={"containers": 1, "container_memory": "3g"})
    assert odd.missing == "a lower bound; missing: 1 container sessions"


@pytest.mark.skipif(OLD, reason="this release of genai-prices knows no image models")
def test_generated_images_whose_tokens_are_told() -> None:
    tokens = {"input_tokens": 10, "output_tokens": 272, "output_tokens_details": {"image_tokens": 272}}
    tools = {
        "image_generation_calls": 1,
        "image_generation_usage": tokens,
        "image_generation_model": "gpt-image-1",
    }
    found = cost("gpt-5", usage(10, 1), tools=tools)
    assert found.missing is None
    assert found.usd == usd("gpt-5", usage(10, 1)) + usd("gpt-image-1", tokens)


@pytest.mark.parametrize(
    ("host", "raw", "expected"),
    [
        ("openrouter.ai", {"cost": 0.000518, "is_byok": False}, "0.000518"),
        ("openrouter.ai", {"cost": 0, "is_byok": False}, "0"),  # a free model
        (
            "openrouter.ai",
            {"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}},
            "1.05",
        ),
        ("api.x.ai", {"cost_in_usd_ticks": 6767400}, "0.00067674"),
        ("api.perplexity.ai", {"cost": {"currency": "USD", "total_cost": 2.8e-08}}, "0.000000028"),
        ("ai-gateway.vercel.sh", {"cost": 0.00187875, "market_cost": 0.002}, "0.00187875"),
        ("gateway.example.com", {"cost": 1e-05, "cost_details": {}}, "0.00001"),
    ],
)
def test_what_the_server_itself_says(host: str, raw: dict[str, Any], expected: str) -> None:
    for place in ("raw", "other"):
        found = cost("any", usage(1, 1, **{place: raw}), host=host)
        assert found.as_dict() == {"usd": expected, "price_source": "api"}


@pytest.mark.parametrize(
    ("host", "raw"),
    [
        ("models.services.ai.azure.com", {"cost_in_usd_ticks": 0}),
        ("api.openai.com", {"cost": 1}),
        ("gateway.example.com", {"cost": 1}),
        ("openrouter.ai.example.com", {"cost": 1}),
        ("api.perplexity.ai", {"cost": {"currency": "EUR", "total_cost": 1}}),
        ("openrouter.ai", {"cost": "free"}),
        ("openrouter.ai", {"cost": float("nan")}),
        ("openrouter.ai", {"cost": -1}),
        ("openrouter.ai", {"cost": 0.05, "is_byok": True}),
    ],
)
def test_what_a_server_says_is_not_trusted_anywhere(host: str, raw: dict[str, Any]) -> None:
    assert cost("gpt-4o", usage(1, 1, raw=raw), host=host).source != "api"


def test_other_hosts_have_their_own_prices() -> None:
    assert usd("llama-3.1-8b-instant", usage(10**6, 0), host="api.groq.com") == Decimal("0.05")
    assert usd("deepseek-chat", usage(10**6, 0), host="api.deepseek.com") > 0
    model = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
    older, newer = (cost(model, usage(9, 9), host=f"api.together.{top}") for top in ("xyz", "ai"))
    assert older == newer


def test_a_name_without_end_is_not_looked_up() -> None:
    found = cost("x" * 10**6, usage(1, 1))
    assert found.reason == "model_unknown"
    assert len(str(found.missing)) < 300


def test_images_of_a_request_that_names_no_model() -> None:
    assert cost(None, {"images": 2, "size": "256x256", "input_tokens": None}).usd == Decimal("0.032")


def test_the_amount_is_exact_text() -> None:
    shown = cost("gpt-4o-mini", usage(1, 0)).as_dict()
    assert shown["usd"] == "0.00000015"
    assert shown["price_source"].startswith("genai-prices/")
    assert cost("gpt-4o-mini", usage(2**62, 2**62)).as_dict()["usd"] == "3458764513820.54092800"[:-2]


def test_a_third_of_a_cent_ends_somewhere() -> None:
    shown = price(Call("whisper-1", NOW), {"seconds": 0.1}).as_dict()
    assert shown["usd"] == "0.00001"


def test_the_table_by_hand_goes_before_genai_prices_and_says_so() -> None:
    """Where genai-prices learns one of these, the table's line can go."""
    for model, rates in price_table.MODELS.items():
        found = BUNDLED.find(model, at=NOW, tier=None)
        assert price_table.SOURCE in getattr(found, "source", ""), model
        assert {key: getattr(found, "rates", {})[key] for key in rates} == dict(rates)


tokens = st.integers(0, 2**40)
MODELS = ("gpt-4o-mini", "gpt-4o", "gpt-5", "o4-mini", "gpt-5.4", "gpt-4o-audio-preview", "tts-1")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
DETAIL = st.sampled_from(
    ["cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "reasoning_tokens"]
)
USAGES = st.dictionaries(
    st.sampled_from(
        [
            *("input_tokens", "output_tokens", "total_tokens", "seconds", "characters", "images", "size"),
            *("missing", "complete", "raw", "other", "source", "quality"),
        ]
    )
    | st.text(max_size=5),
    ANYTHING,
) | st.fixed_dictionaries(
    {"input_tokens": tokens, "output_tokens": tokens},
    optional={
        "input_tokens_details": st.dictionaries(DETAIL, tokens | ANYTHING, max_size=4),
        "output_tokens_details": st.dictionaries(DETAIL, tokens | ANYTHING, max_size=4),
    },
)


@given(
    st.sampled_from(MODELS) | st.text(max_size=12),
    USAGES,
    st.dictionaries(st.sampled_from(["web_search_calls", "containers", "image_generation_usage"]), ANYTHING),
    st.sampled_from([None, "flex", "priority", "batch", "scale"]),
    st.sampled_from(["api.openai.com", "eu.api.openai.com", "a.openai.azure.com", "openrouter.ai", "", "x"]),
)
def test_any_usage_has_a_price_or_a_reason(
    model: str, used: dict[str, Any], tools: Any, tier: str | None, host: str
) -> None:
    found = cost(model, used, tools=tools, service_tier=tier, host=host)
    assert (found.usd is None) == (found.source == "unknown")
    assert found.usd is not None or (found.missing and found.reason)
    assert found.usd is None or found.usd >= 0
    shown = found.as_dict()["usd"]
    assert shown is None or (isinstance(shown, str) and "E" not in shown.upper())


@given(st.sampled_from(MODELS[:-1]), tokens, tokens, tokens, tokens)
def test_more_tokens_never_cost_less_and_none_is_free(
    model: str, given_: int, written: int, more: int, longer: int
) -> None:
    least = usd(model, usage(given_, written))
    assert (least == 0) == (given_ + written == 0)
    assert usd(model, usage(given_ + more, written)) >= least
    assert usd(model, usage(given_, written + longer)) >= least


@given(st.sampled_from(["gpt-4o", "gpt-5", "o4-mini", "gpt-4.1"]), tokens, tokens)
def test_what_is_cached_never_costs_more(model: str, given_: int, cached: int) -> None:
    details = {"input_tokens_details": {"cached_tokens": min(cached, given_)}}
    assert usd(model, usage(given_, 0, **details)) <= usd(model, usage(given_, 0))


@pytest.mark.skipif(OLD, reason="genai-prices before 0.1 counts otherwise")
@given(st.sampled_from(["gpt-4o", "gpt-5", "o3", "gpt-5.4", "gpt-4.1-mini"]), tokens, tokens, tokens)
def test_text_comes_out_as_genai_prices_has_it(model: str, given_: int, cached: int, written: int) -> None:
    cached = min(cached, given_)
    theirs = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=given_, cache_read_tokens=cached, output_tokens=written),
        model,
        provider_id="openai",
        genai_request_timestamp=NOW,
    )
    ours = usd(model, usage(given_, written, input_tokens_details={"cached_tokens": cached}))
    assert ours == theirs.total_price

"""Price a call at most: the figures of :mod:`addons.openai.bounds.upper_bound` at the dearest prices.

Nothing is taken to be cached, and where a side may be of several modalities the dearest of them counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal, localcontext

from addons.openai.bounds.usage_bound import UsageBound
from addons.openai.pricing import price_table, pricing
from addons.openai.pricing.bill import EXACT, HOUR, MILLION, Unpriced
from addons.openai.pricing.prices import OPENAI, Found, Missing, Prices
from addons.openai.pricing.rates import Rate, TieredPrices
from addons.openai.vocabulary import normalise

NANO = 10**9


def nano_usd(most: UsageBound, call: pricing.Call, prices: Prices = pricing.BUNDLED) -> int:
    """Price in billionths of a dollar, rounded up. `call` says when and where.

    Raises Unpriced with the reason.
    """
    if most.unbounded:
        raise Unpriced("unbounded", most.unbounded)
    with localcontext(EXACT):
        return math.ceil(_dollars(most, call, prices) * NANO)


def of_models(
    most: UsageBound, models: Iterable[str], call: pricing.Call, prices: Prices = pricing.BUNDLED
) -> int:
    """Give the same where it may be any of `models`."""
    return max(nano_usd(replace(most, model=model), call, prices) for model in models)


def _dollars(most: UsageBound, call: pricing.Call, prices: Prices) -> Decimal:
    if not (most.tokens or most.images or most.seconds or most.characters):
        return Decimal(0)
    if not most.model:
        raise Unpriced("model_unknown", "the request does not say its model")
    if most.images:
        return most.images * _dearest_image(most.model)
    tiers = {most.tier, None}  # what asks for a cheaper tier may be served in the standard one
    return max(_in_tier(tier, most, most.model, call, prices) for tier in tiers)


def _in_tier(tier: str | None, most: UsageBound, model: str, call: pricing.Call, prices: Prices) -> Decimal:
    found = prices.find(model, at=call.at, tier=tier, host=call.host, path=call.path)
    if isinstance(found, Missing):
        raise Unpriced(found.code, found.text)
    dollars = _metered(most, found)
    if not dollars and not found.own:
        raise Unpriced("unit_unknown", f"the price of {model!r} is given as zero")
    if found.provider == OPENAI and pricing.in_region(call.host, model):
        dollars *= price_table.RESIDENCY
    return dollars + _tools(most, found)


def _metered(most: UsageBound, found: Found) -> Decimal:
    """Price by tokens; or by the second or the character, where the model is billed so."""
    given = most.input_tokens
    if most.seconds and (rate := _rate(found, ("audio_hours", "input_audio_hours"), given)) is not None:
        return rate * most.seconds / HOUR
    if most.characters and (rate := _rate(found, ("input_mchars",), given)) is not None:
        return rate * most.characters / MILLION
    inputs = ("input_mtok", "cache_write_mtok", *(f"input_{kind}_mtok" for kind in sorted(most.given)))
    outputs = ("output_mtok", "output_reasoning_mtok", *(f"output_{kind}_mtok" for kind in sorted(most.made)))
    dollars = Decimal(0)
    for what, count, keys in (("input", given, inputs), ("output", most.output_tokens, outputs)):
        if count:
            rate = _rate(found, keys, given)
            if rate is None:
                raise Unpriced("unit_unknown", f"no price of {what} is known for {most.model!r}")
            dollars += rate * count / MILLION
    request = _rate(found, ("requests_kcount",), given)
    return dollars + (request / 1000 if request is not None else 0)


def _rate(found: Found, keys: Iterable[str], given: int) -> Decimal | None:
    """Give the dearest of the prices that there are."""
    return max((_reached(found.rates[key], given) for key in keys if key in found.rates), default=None)


def _reached(rate: Rate, given: int) -> Decimal:
    """Give the dearest step that `given` tokens of input may reach: it may be any number up to that."""
    if isinstance(rate, TieredPrices):
        return max([rate.base, *(tier.price for tier in rate.tiers if given > tier.start)])
    return rate


def _dearest_image(model: str) -> Decimal:
    by_size = price_table.IMAGES.get(normalise(model))
    if by_size is None:
        raise Unpriced("unit_unknown", f"no price of an image is known for {model!r}")
    return max(by_size.values())


def _tools(most: UsageBound, found: Found) -> Decimal:
    dollars = Decimal(0)
    rates = {
        "web_search_calls": max(price_table.WEB_SEARCH_KCOUNT, price_table.WEB_SEARCH_PREVIEW_KCOUNT) / 1000,
        "web_search_preview_calls": price_table.WEB_SEARCH_PREVIEW_KCOUNT / 1000,
        "file_search_calls": price_table.FILE_SEARCH_KCOUNT / 1000,
        "containers": price_table.CONTAINERS.get(most.memory.lower(), max(price_table.CONTAINERS.values())),
    }
    own = {"web_search_calls": "web_searches_kcount", "file_search_calls": "storage_searches_kcount"}
    for name, calls in most.hosted.items():
        listed = _rate(found, (own[name],), 0) if name in own else None
        dollars += calls * max(rates[name], listed / 1000 if listed is not None else Decimal(0))
    return dollars

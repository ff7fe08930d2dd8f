"""Price a call in US dollars.

A cost that can't be told is null, with the reason; it is never zero. One that leaves something out says so:
then it is a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any

from addons.openai import completion_window
from addons.openai.asked_tier import CHEAPER, names_none
from addons.openai.pricing import price_table, reported_cost, special
from addons.openai.pricing.bill import EXACT, Line, Unpriced, bill, total
from addons.openai.pricing.prices import AZURE, OPENAI, Found, Missing, Prices
from addons.openai.pricing.rates import TieredPrices
from addons.openai.vocabulary import normalise

UNKNOWN = "unknown"
LOWER_BOUND = "lower_bound"
BUNDLED = Prices()
DEFAULT_IMAGE_MODEL = "dall-e-2"
"""It is that of requests for images that name none
(https://platform.openai.com/docs/api-reference/images)."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """Holds what of a call decides its prices."""

    model: str | None
    at: datetime
    service_tier: str | None = None
    """The tier that served the call; ``batch`` for the batch API."""
    service_tier_requested: str | None = None
    """The tier that was asked for; counts where no tier is told that served the call."""
    host: str = ""
    path: str = ""
    summed: bool = False
    """It tells whether the usage is the sum of many calls, as that of a batch."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Holds a price in US dollars, or why there is none."""

    usd: Decimal | None
    source: str
    missing: str | None = None
    """It says why there is no price, or what it leaves out."""
    reason: str | None = None
    """It is the same as a code: see docs/cost.md."""
    lines: Sequence[Line] = ()
    """It says how it comes to that; none where the server has told the price."""
    approximate: Sequence[str] = ()
    """Codes of what may make it less, see docs/cost.md."""

    def as_dict(self) -> dict[str, Any]:
        """Give the event's `cost`; the amount is a decimal as text, which no JSON parser rounds."""
        shown: dict[str, Any] = {
            "usd": None if self.usd is None else _text(self.usd),
            "price_source": self.source,
        }
        if self.missing:
            shown |= {"missing": self.missing, "reason": self.reason}
        if self.approximate:
            shown["approximate"] = list(self.approximate)
        return shown

    def lacking(self, what: str) -> Cost:
        """Give the same, as a lower bound."""
        before = f"{self.missing}; " if self.reason == LOWER_BOUND else "a lower bound; missing: "
        return replace(self, missing=f"{before}{what}", reason=LOWER_BOUND)


def price(call: Call, usage: Json, *, hosted_tools: Json | None = None, prices: Prices = BUNDLED) -> Cost:
    """Price `usage` (canonical, as in the event) by the prices that held at that time. Never raises.

    What the server itself says that it cost goes first. Then `prices`: the tokens, seconds, characters or
    images, and the API's own tools that ran.
    """
    if (reported := reported_cost.reported_cost(usage, call.host)) is not None:
        return Cost(reported, reported_cost.SOURCE)
    model = call.model or (DEFAULT_IMAGE_MODEL if usage.get("images") else None)
    if not model:
        return Cost(None, UNKNOWN, "the model is not known", "model_unknown")
    try:
        with localcontext(EXACT):
            cost = _priced(call, model, usage, hosted_tools or {}, prices)
            return _in_tier_asked(cost, call, model, usage, hosted_tools or {}, prices)
    except Unpriced as error:
        return Cost(None, UNKNOWN, str(error), error.code)


def _in_tier_asked(cost: Cost, call: Call, model: str, usage: Json, tools: Json, prices: Prices) -> Cost:
    """Mark the standard cost of a call whose answer does not say that it was not in the tier asked for."""
    asked = call.service_tier_requested
    if cost.usd is None or asked is None or not names_none(call.service_tier):
        return cost
    try:
        other = _priced(replace(call, service_tier=asked), model, usage, tools, prices).usd
    except Unpriced:
        other = None
    if other == cost.usd:
        return cost
    if asked in CHEAPER if other is None else other < cost.usd:
        return replace(cost, approximate=("service_tier",))
    return cost.lacking(
        f"what the service tier {asked!r} costs more, which the answer may have been served in"
    )


def _priced(call: Call, model: str, usage: Json, tools: Json, prices: Prices) -> Cost:
    if (images := _images(call, model, usage, prices)) is not None:
        return Cost(total([images]), price_table.SOURCE, lines=[images])
    found, left_out = _found(call, model, prices)
    rates = special.with_long_cache_writes(found)
    left_out += special.unpriced_retentions(usage, rates)
    left_out += special.unpriced_beside(usage)
    if call.summed and any(isinstance(rate, TieredPrices) for rate in rates.values()):
        left_out.append("what long inputs cost more, of which a sum tells nothing")
    if special.is_decision(call.path) and not found.own:
        left_out += special.unpriced_decision(usage)
        usage, rates = _plain_input(usage), special.decision(rates)
    usage = special.with_least_seconds(usage, found)
    lines = bill(usage, rates, summed=call.summed)
    dollars = total(lines)
    if not dollars and any(line.count for line in lines) and not found.own:
        raise Unpriced("unit_unknown", f"the price of {model!r} is given as zero")
    sources = [found.source, *([price_table.SOURCE] if _has(lines, "12 hours") and not found.own else [])]
    if found.provider == OPENAI and in_region(call.host, model):
        lines.append(Line("data residency, on the above", dollars, price_table.RESIDENCY - 1, 1))
        sources.append(price_table.SOURCE)
    if tools:
        tool_lines, without_price = _tools(call, model, tools, found, prices)
        tool_lines += special.router_fee(usage, tools)
        left_out += without_price
        lines += tool_lines
        sources += [price_table.SOURCE] if tool_lines else []
    left_out += _not_counted(usage)
    source = "+".join(dict.fromkeys("+".join(sources).split("+")))
    dollars = total(lines)
    if left_out:
        return Cost(dollars, source, f"a lower bound; missing: {'; '.join(left_out)}", LOWER_BOUND, lines)
    return Cost(dollars, source, lines=lines)


def _found(call: Call, model: str, prices: Prices) -> tuple[Found, list[str]]:
    """Give the prices of a call, and what they leave out. Raises Unpriced."""
    tier = call.service_tier or ""
    found = prices.find(model, at=call.at, tier=tier, host=call.host, path=call.path)
    if isinstance(found, Found):
        return found, []
    if tier.startswith(completion_window.PREFIX):
        batch = prices.find(model, at=call.at, tier="batch", host=call.host, path=call.path)
        if isinstance(batch, Found):
            window = tier.removeprefix(completion_window.PREFIX)
            return batch, [f"the price of a completion window of {window}: that of batches is taken"]
    raise Unpriced(found.code, found.text)


def _plain_input(usage: Json) -> Json:
    """Give the usage without what was written to the cache, which costs as much as what was not."""
    details = usage.get("input_tokens_details")
    details = details if isinstance(details, Mapping) else {}
    return {**usage, "input_tokens_details": {"cached_tokens": details.get("cached_tokens", 0)}}


def _has(lines: list[Line], what: str) -> bool:
    return any(line.what.endswith(what) for line in lines)


def in_region(host: str, model: str) -> bool:
    """Tell whether a model is dearer on this host, which keeps data in a region."""
    region = price_table.RESIDENCY_HOST.fullmatch(host)
    return bool(region and price_table.RESIDENCY_MODELS.match(normalise(model)))


def _not_counted(usage: Json) -> list[str]:
    """Give what a usage that was counted here could not see."""
    missing = usage.get("missing")
    parts = [str(part) for part in missing] if isinstance(missing, list) else []
    sides = [side for side in ("input", "output") if usage.get(f"{side}_tokens") is None]
    if len(sides) == 1 and usage.get("source") != "api":
        parts.append(f"the {sides[0]}")
    return parts or (["what is hidden"] if usage.get("complete") is False else [])


def _images(call: Call, model: str, usage: Json, prices: Prices) -> Line | None:
    """Give the line for images that are billed each, by size and quality; None for other usages."""
    count = usage.get("images")
    if not isinstance(count, int) or usage.get("input_tokens") is not None:
        return None
    by_size = price_table.IMAGES.get(normalise(model))
    if by_size is None or prices.provider_of(call.host, call.path) not in (OPENAI, AZURE):
        raise Unpriced("unit_unknown", f"no price of an image is known for {model!r}")
    quality, size = usage.get("quality") or "standard", usage.get("size") or "1024x1024"
    if (rate := by_size.get((str(quality), str(size)))) is None:
        raise Unpriced("unit_unknown", f"no price of a {quality} image of {size} is known for {model!r}")
    return Line("images", Decimal(count), rate, 1)


def _tools(call: Call, model: str, tools: Json, found: Found, prices: Prices) -> tuple[list[Line], list[str]]:
    """Give the lines for the API's own tools, and those that have no price here."""
    lines: list[Line] = []
    left_out: list[str] = []
    rates = _tool_rates(model, tools, found)
    for name, (what, per) in TOOLS.items():
        count = tools.get(name)
        if not isinstance(count, int) or count <= 0:
            continue
        if (rate := rates.get(name)) is None:
            left_out.append(f"{count} {what}")
        else:
            lines.append(Line(what, Decimal(count), rate, per))
    if tools.get("image_generation_calls") or tools.get("image_generation_usage"):
        images = _generated(call, tools, prices)
        lines += images
        left_out += [] if images else ["the tokens of generated images, which the answer does not report"]
    unknown = tools.get("unknown_tools")
    left_out += [f"what {name} costs" for name in unknown] if isinstance(unknown, list) else []
    if tools.get("svg_usage"):
        authored = _of_model(call, tools.get("svg_usage"), tools.get("svg_model"), prices)
        lines += authored
        left_out += [] if authored else ["the tokens of the model that wrote the SVG"]
    return lines, left_out


TOOLS = {
    "web_search_calls": ("web searches", 1000),
    "web_search_preview_calls": ("web searches (preview)", 1000),
    "file_search_calls": ("file searches", 1000),
    "containers": ("container sessions", 1),
}


def _tool_rates(model: str, tools: Json, found: Found) -> dict[str, Decimal]:
    """Let an operator's own prices go first; then OpenAI's, where it is OpenAI that ran the tools."""
    own = {
        "web_search_calls": found.rates.get("web_searches_kcount"),
        "web_search_preview_calls": found.rates.get("web_searches_kcount") if found.own else None,
        "file_search_calls": found.rates.get("storage_searches_kcount"),
    }
    rates = {name: rate for name, rate in own.items() if isinstance(rate, Decimal)}
    if found.provider != OPENAI:
        return rates
    preview = price_table.WITHOUT_REASONING.match(normalise(model))
    listed = {
        "web_search_calls": price_table.WEB_SEARCH_KCOUNT,
        "web_search_preview_calls": price_table.WEB_SEARCH_PREVIEW_KCOUNT
        if preview
        else price_table.WEB_SEARCH_KCOUNT,
        "file_search_calls": price_table.FILE_SEARCH_KCOUNT,
    }
    memory = str(tools.get("container_memory") or "1g").lower()
    if memory in price_table.CONTAINERS:
        listed["containers"] = price_table.CONTAINERS[memory]
    return listed | rates


def _generated(call: Call, tools: Json, prices: Prices) -> list[Line]:
    """Give the tokens of generated images, where answer and request tell both them and their model."""
    usage, model = tools.get("image_generation_usage"), tools.get("image_generation_model")
    return _of_model(call, usage, model, prices)


def _of_model(call: Call, usage: object, model: object, prices: Prices) -> list[Line]:
    """Give the lines of another model's usage; none where they can't be told."""
    if not isinstance(usage, Mapping) or not isinstance(model, str):
        return []
    found = prices.find(model, at=call.at, tier=None, host=call.host, path=call.path)
    try:
        return [] if isinstance(found, Missing) else bill(usage, found.rates)
    except Unpriced:
        return []


def _text(amount: Decimal) -> str:
    """Write a plain decimal, with at most 18 digits after the point.

    Only parts of an hour's price can have more.
    """
    with localcontext(EXACT):
        return format(round(amount, 18).normalize(), "f")

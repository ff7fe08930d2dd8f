"""What a call cost, in US dollars.

A cost that can't be told is null, with the reason; it is never zero. One that leaves something out says so:
then it is a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any

from addons.openai import price_table, reported_cost
from addons.openai.bill import EXACT, Line, Unpriced, bill, total
from addons.openai.prices import AZURE, OPENAI, Found, Missing, Prices
from addons.openai.vocabulary import normalise

UNKNOWN = "unknown"
LOWER_BOUND = "lower_bound"
BUNDLED = Prices()
DEFAULT_IMAGE_MODEL = "dall-e-2"
"""Of requests for images that name none (https://platform.openai.com/docs/api-reference/images)."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """What of a call decides its prices."""

    model: str | None
    at: datetime
    service_tier: str | None = None
    """The tier that served the call; ``batch`` for the batch API."""
    host: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """A price in US dollars, or why there is none."""

    usd: Decimal | None
    source: str
    missing: str | None = None
    """Why there is no price, or what it leaves out."""
    reason: str | None = None
    """The same as a code: see docs/cost.md."""

    def as_dict(self) -> dict[str, Any]:
        """The event's `cost`; the amount is a decimal as text, which no JSON parser rounds."""
        shown: dict[str, Any] = {
            "usd": None if self.usd is None else _text(self.usd),
            "price_source": self.source,
        }
        if self.missing:
            shown |= {"missing": self.missing, "reason": self.reason}
        return shown


def price(call: Call, usage: Json, *, hosted_tools: Json | None = None, prices: Prices = BUNDLED) -> Cost:
    """The cost of `usage` (canonical, as in the event) by the prices that held at that time. Never raises.

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
            return _priced(call, model, usage, hosted_tools or {}, prices)
    except Unpriced as error:
        return Cost(None, UNKNOWN, str(error), error.code)


def _priced(call: Call, model: str, usage: Json, tools: Json, prices: Prices) -> Cost:
    if (images := _images(call, model, usage, prices)) is not None:
        return Cost(total([images]), price_table.SOURCE)
    found = prices.find(model, at=call.at, tier=call.service_tier, host=call.host, path=call.path)
    if isinstance(found, Missing):
        raise Unpriced(found.code, found.text)
    lines = bill(usage, found.rates)
    dollars = total(lines)
    if not dollars and any(line.count for line in lines) and not found.own:
        raise Unpriced("unit_unknown", f"the price of {model!r} is given as zero")
    sources = [found.source]
    left_out: list[str] = []
    if found.provider == OPENAI and in_region(call.host, model):
        dollars *= price_table.RESIDENCY
        sources.append(price_table.SOURCE)
    if tools:
        tool_lines, left_out = _tools(call, model, tools, found, prices)
        dollars += total(tool_lines)
        sources += [price_table.SOURCE] if tool_lines else []
    left_out += _not_counted(usage)
    source = "+".join(dict.fromkeys("+".join(sources).split("+")))
    if left_out:
        return Cost(dollars, source, f"a lower bound; missing: {'; '.join(left_out)}", LOWER_BOUND)
    return Cost(dollars, source)


def in_region(host: str, model: str) -> bool:
    """Whether a model is dearer on this host, which keeps data in a region."""
    region = price_table.RESIDENCY_HOST.fullmatch(host)
    return bool(region and price_table.RESIDENCY_MODELS.match(normalise(model)))


def _not_counted(usage: Json) -> list[str]:
    """What a usage that was counted here could not see."""
    missing = usage.get("missing")
    parts = [str(part) for part in missing] if isinstance(missing, list) else []
    sides = [side for side in ("input", "output") if usage.get(f"{side}_tokens") is None]
    if len(sides) == 1 and usage.get("source") != "api":
        parts.append(f"the {sides[0]}")
    return parts or (["what is hidden"] if usage.get("complete") is False else [])


def _images(call: Call, model: str, usage: Json, prices: Prices) -> Line | None:
    """The line for images that are billed each, by size and quality; None for other usages."""
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
    """The lines for the API's own tools, and those that have no price here."""
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
    return lines, left_out


TOOLS = {
    "web_search_calls": ("web searches", 1000),
    "web_search_preview_calls": ("web searches (preview)", 1000),
    "file_search_calls": ("file searches", 1000),
    "containers": ("container sessions", 1),
}


def _tool_rates(model: str, tools: Json, found: Found) -> dict[str, Decimal]:
    """An operator's own prices go first; then OpenAI's, where it is OpenAI that ran the tools."""
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
    """The tokens of generated images, where answer and request tell both them and their model."""
    usage, model = tools.get("image_generation_usage"), tools.get("image_generation_model")
    if not isinstance(usage, Mapping) or not isinstance(model, str):
        return []
    found = prices.find(model, at=call.at, tier=None, host=call.host, path=call.path)
    try:
        return [] if isinstance(found, Missing) else bill(usage, found.rates)
    except Unpriced:
        return []


def _text(amount: Decimal) -> str:
    """A plain decimal, at most 18 digits after the point: only parts of an hour's price can have more."""
    with localcontext(EXACT):
        return format(round(amount, 18).normalize(), "f")

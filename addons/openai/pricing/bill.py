"""A usage and the prices that hold become the lines of a bill.

Each token is on one line only: cached tokens are part of the input, reasoning is part of the output, and what
is priced apart (audio, images) is taken off the rest. A line without a price makes the bill unknown: it is
never left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import Any

from addons.openai.pricing.rates import Rates, TieredPrices

MILLION = 1_000_000
HOUR = 3600
CACHE_12H = "cache_write_12h_mtok"
"""A key that genai-prices does not have."""
CACHE_1H = "cache_write_1h_mtok"
BY_THE_HOUR = "input_audio_hours"
# Enough for 63 bits of tokens at any price, without rounding.
EXACT = Context(prec=80)

Json = Mapping[str, Any]


class Unpriced(Exception):
    """The bill can't be made: `code` stays, the text says why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Line:
    """`count` of something at `rate` US dollars for `per` of them."""

    what: str
    count: Decimal
    rate: Decimal
    per: int

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON, exact decimals as text."""
        numbers = {"count": self.count, "rate": self.rate, "usd": total([self])}
        return {"what": self.what, "per": self.per} | {
            name: f"{n.normalize():f}" for name, n in numbers.items()
        }


def total(lines: list[Line]) -> Decimal:
    """Give the sum in US dollars, exact."""
    with localcontext(EXACT):
        return sum((line.count * line.rate / line.per for line in lines), Decimal(0))


def bill(usage: Json, rates: Rates, *, summed: bool = False) -> list[Line]:
    """Give the lines for the tokens, or seconds, or characters of a usage (canonical, as in the event).

    `summed`: of many calls, none of which need have been long, so that the prices of short ones are taken.
    Raises Unpriced where a part has no price, or where the parts are larger than the whole.

    >>> rates = {"input_mtok": Decimal(2), "cache_read_mtok": Decimal(1), "output_mtok": Decimal(8)}
    >>> usage = {"input_tokens": 100, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 64}}
    >>> [(line.what, int(line.count)) for line in bill(usage, rates)]
    [('input', 36), ('cached input', 64), ('output', 1)]
    """
    given, written = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    seconds, characters = _amount(usage.get("seconds")), _amount(usage.get("characters"))
    by_tokens = bool(given or written) or seconds is None is characters
    if seconds is not None and (not by_tokens or "input_mtok" not in rates):
        return [_line("seconds of audio", seconds, rates, ("audio_hours", "input_audio_hours"), HOUR)]
    if characters is not None and (not by_tokens or "input_mchars" in rates):
        return [_line("characters", characters, rates, ("input_mchars",), MILLION)]
    if usage.get("input_tokens") is None and usage.get("output_tokens") is None:
        raise Unpriced("no_usage", "no tokens are known")
    long = 0 if summed else given
    lines = [*_input(usage, given, rates, long), *_output(usage, written, rates, given, long)]
    if (rate := _rate(rates, ("requests_kcount",), long)) is not None:
        lines.append(Line("request", Decimal(1), rate, 1000))
    return lines


def _input(usage: Json, given: int, rates: Rates, long: int) -> Iterator[Line]:
    details = _details(usage, "input_tokens_details")
    cached, audio, image = (_count(details, f"{kind}_tokens") for kind in ("cached", "audio", "image"))
    written = _count(details, "cache_write_tokens")
    by_time = _details(details, "cache_write_tokens_details")
    kept, hour = (min(written, _count(by_time, f"ttl_{time}_tokens")) for time in ("12h", "1h"))
    split = _details(details, "cached_tokens_details")
    # Where the cached tokens are not told apart they are taken for text: that is the dearest reading.
    spare = max(0, cached - max(0, given - audio - image - written))
    cached_audio = _count(split, "audio_tokens") if split else min(audio, spare)
    cached_image = _count(split, "image_tokens") if split else min(image, spare - cached_audio)
    cached_text = cached - cached_audio - cached_image
    text = given - audio - image - written - cached_text
    by_image = ("input_image_mtok",) if _by_modality(rates) else ("input_image_mtok", "input_mtok")
    heard = _amount(usage.get("seconds")) or Decimal(0)
    if heard and "input_audio_mtok" not in rates and BY_THE_HOUR in rates:
        yield _line("seconds of audio", heard, rates, (BY_THE_HOUR,), HOUR)
        audio = cached_audio = 0
    yield from _lines(
        rates,
        long,
        ("input", text, ("input_mtok",)),
        ("cached input", cached_text, ("cache_read_mtok", "input_mtok")),
        ("input written to the cache", written - kept - hour, ("cache_write_mtok", "input_mtok")),
        ("input written to the cache for an hour", hour, (CACHE_1H, "cache_write_mtok", "input_mtok")),
        ("input written to the cache for 12 hours", kept, (CACHE_12H, "cache_write_mtok", "input_mtok")),
        ("audio input", audio - cached_audio, ("input_audio_mtok",)),
        ("cached audio input", cached_audio, ("cache_audio_read_mtok", "input_audio_mtok")),
        ("image input", image - cached_image, by_image),
        ("cached image input", cached_image, ("cache_image_read_mtok", *by_image)),
        ("video input", _count(details, "video_tokens"), ("input_video_mtok",)),
    )


def _output(usage: Json, written: int, rates: Rates, given: int, long: int) -> Iterator[Line]:
    details = _details(usage, "output_tokens_details")
    audio, image = _count(details, "audio_tokens"), _count(details, "image_tokens")
    reasoning = _count(details, "reasoning_tokens")
    if usage.get("total_tokens") == given + written + reasoning:
        written += reasoning  # x.ai counts it beside the output, and the total tells
    if not details and "output_image_mtok" in rates:
        image = written  # the first answers with images did not say that all of it is image
    by_image = ("output_image_mtok",) if _by_modality(rates) else ("output_image_mtok", "output_mtok")
    apart = reasoning if "output_reasoning_mtok" in rates else 0
    yield from _lines(
        rates,
        long,
        ("output", written - audio - image - apart, ("output_mtok",)),
        ("reasoning", apart, ("output_reasoning_mtok",)),
        ("audio output", audio, ("output_audio_mtok",)),
        ("image output", image, by_image),
    )


def _by_modality(rates: Rates) -> bool:
    """Tell whether the model's prices differ by modality; then one that is missing is not that of text."""
    return "input_audio_mtok" in rates or "output_audio_mtok" in rates


def _lines(rates: Rates, long: int, *parts: tuple[str, int, tuple[str, ...]]) -> Iterator[Line]:
    for what, count, keys in parts:
        if count < 0:
            raise Unpriced("bad_usage", "the parts of the usage are larger than the whole")
        if count:
            yield _line(what, Decimal(count), rates, keys, MILLION, long)


def _line(what: str, count: Decimal, rates: Rates, keys: tuple[str, ...], per: int, long: int = 0) -> Line:
    rate = _rate(rates, keys, long)
    if rate is None:
        raise Unpriced("unit_unknown", f"no price of {what} is known for this model")
    return Line(what, count, rate, per)


def _rate(rates: Rates, keys: tuple[str, ...], given: int) -> Decimal | None:
    """Give the first price there is. From a threshold of input tokens on, another holds for all tokens."""
    rate = next((rates[key] for key in keys if key in rates), None)
    if isinstance(rate, TieredPrices):
        over = [tier.price for tier in rate.tiers if given > tier.start]
        return over[-1] if over else rate.base
    return rate


def _details(holder: Json, name: str) -> Json:
    found = holder.get(name)
    return found if isinstance(found, Mapping) else {}


def _count(holder: Json, name: str) -> int:
    value = _amount(holder.get(name))
    return int(value) if value is not None else 0


def _amount(value: object) -> Decimal | None:
    """Give a number of zero or more, as it was written; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    # repr of a float is the shortest text that reads as the same number: what the API wrote.
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return number if number.is_finite() and number >= 0 else None

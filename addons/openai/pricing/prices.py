"""Find the prices that hold for a model, on a host, at a time, in a service tier.

From four places: an operator's own file, a list that was put into the store, the table kept here by hand,
and genai-prices, whose data come with the package and are never fetched. Only data are taken from it: it
prices as zero what it has no price for (a modality, a unit, a tier), and here that must be noticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from addons.openai.pricing import price_table
from addons.openai.pricing.rates import Constraint, Match, Rate, Rates, Tier, TieredPrices
from addons.openai.providers import provider_of
from addons.openai.vocabulary import normalise

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

OPENAI, AZURE = "openai", "azure"
OWN = "own"
"""Source of prices that an operator stated."""
# The newer name of a host that genai-prices knows by its older one.
ALIASES = {"api.together.ai": "api.together.xyz"}
# Open-weight models have OpenAI's name, but OpenAI does not sell them.
OPEN_WEIGHT = re.compile(r"gpt-oss")
LONGEST_NAME = 200
"""Names come from clients, and are kept in caches."""
DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|20\d{6})$")
SHORT_DATE = re.compile(r"-\d{4}$")


Variant = tuple[Mapping[str, str], Constraint | None, Rates]
"""A context (a service tier), when it holds, and the prices that are then others."""


@dataclass(frozen=True, slots=True)
class Priced:
    """Holds the prices of one model: the last whose constraint is met holds; variants replace single keys."""

    prices: Sequence[tuple[Constraint | None, Rates]]
    variants: Sequence[Variant] = ()

    def at(self, moment: datetime, context: Mapping[str, str]) -> Rates | None:
        """Give the prices at a time; None where the context (a tier) asks for a variant and there is none."""
        standard = self._standard(moment)
        if not context:
            return standard
        variants = [variant for variant in self.variants if variant[0].items() <= context.items()]
        held = [rates for _, constraint, rates in variants if constraint is None or constraint.active(moment)]
        if not held and standard == self._standard(datetime.now(UTC)):
            # The data say from when on they know the tier, which is older: its price is that of its model.
            held = [rates for _, _, rates in variants]
        if not held:
            return None
        found: dict[str, Rate] = {}
        for rates in held:
            found = {**rates, **found}
        return {**standard, **found}

    def _standard(self, moment: datetime) -> Rates:
        held = [rates for constraint, rates in self.prices if constraint is None or constraint.active(moment)]
        return held[-1] if held else self.prices[0][1] if self.prices else {}


@dataclass(frozen=True, slots=True)
class OwnProvider:
    """Holds a provider of a price file or list."""

    id: str
    api_pattern: str | None
    models: Sequence[tuple[Match, Priced]]

    def find(self, name: str) -> Priced | None:
        return next((priced for match, priced in self.models if match.is_match(name)), None)


@dataclass(frozen=True, slots=True)
class Found:
    """Holds prices, and where they are from."""

    rates: Rates
    source: str
    own: bool = False
    """It tells whether they are an operator's own: then a price of zero is meant."""
    provider: str = OPENAI


@dataclass(frozen=True, slots=True)
class Missing:
    """Says why there are no prices: a code that stays, and words."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Prices:
    """Holds all known prices: an operator's file, then a newer list, then what comes with the program."""

    own: Sequence[OwnProvider] = ()
    name: str = ""
    """It is that of the file, for `price_source`."""
    listed: Sequence[OwnProvider] = ()
    """A list that is newer than the program, in place of what it has of the same models."""
    list_name: str = ""
    """It is that of the list, for `price_source`."""
    _by_id: dict[str, list[OwnProvider]] = field(init=False, repr=False, default_factory=dict)
    _listed_by_id: dict[str, list[OwnProvider]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for providers, by_id in ((self.own, self._by_id), (self.listed, self._listed_by_id)):
            for provider in providers:
                by_id.setdefault(provider.id, []).append(provider)

    def with_list(self, other: Prices) -> Prices:
        """Take the providers of `other` as the newer list."""
        return replace(self, listed=other.own, list_name=other.name)

    def provider_of(self, host: str, path: str = "") -> str:
        """Give whose prices hold on a host.

        An unknown one is taken for a gateway to OpenAI: see :meth:`find`.
        """
        url = f"https://{host}{path}"
        for provider in self.own:
            if provider.api_pattern and re.match(provider.api_pattern, url):
                return provider.id
        if (known := provider_of(host).name) != OPENAI:
            return known
        for provider in self.listed:
            if provider.api_pattern and re.match(provider.api_pattern, url):
                return provider.id
        return _provider_of(ALIASES.get(host, host), path.partition("?")[0][:80]) or OPENAI

    def find(
        self, model: str, *, at: datetime, tier: str | None, host: str = "", path: str = ""
    ) -> Found | Missing:
        """Give the prices of `model` on `host`; dated names fall back to their family.

        On an unknown host only models that OpenAI sells have prices: OpenAI's.
        """
        return self.find_of(self.provider_of(host, path), model, at=at, tier=tier)

    def find_of(self, provider: str, model: str, *, at: datetime, tier: str | None) -> Found | Missing:
        """Find the prices of a provider's model."""
        if len(model) > LONGEST_NAME:
            return Missing("model_unknown", f"no price is known for {model[:LONGEST_NAME]!r}...")
        context = _context(tier)
        unknown_tier = False
        for found, source, holder in self._candidates(provider, model):
            rates = found.at(at, context)
            # What another provider asks for a tier says nothing about this one.
            if rates is None or (context and source != OWN and holder != provider):
                unknown_tier = unknown_tier or bool(found.prices[0][1])
                continue
            if source == OWN:
                return Found(rates, f"llm_prices/{self.name}", own=True, provider=provider)
            by_hand = _by_hand(model) if holder == OPENAI and not context else {}
            if rates or by_hand:
                sources = [source] * bool(rates) + [price_table.SOURCE] * bool(by_hand)
                return Found({**rates, **by_hand}, "+".join(sources), provider=provider)
        if unknown_tier:
            return Missing("tier_unknown", f"no price of the service tier {tier!r} is known for {model!r}")
        return Missing("model_unknown", f"no price is known for {model!r}")

    def _candidates(self, provider: str, model: str) -> Iterator[tuple[Priced, str, str]]:
        """Yield what may be the model's prices, best first: the prices, their source, the provider that has
        them."""
        chain = [provider, *_fallbacks(provider)]
        for holder in chain:
            for name in _names(model, holder):
                for priced in _of_providers(self._by_id.get(holder, ()), name):
                    yield priced, OWN, holder
        for holder in chain:
            if holder == OPENAI and OPEN_WEIGHT.search(model.lower()):
                continue
            # A new dated name in the list goes before an older family's price that came with the program.
            for name in _names(model, holder):
                for priced in _of_providers(self._listed_by_id.get(holder, ()), name):
                    yield priced, self.list_name, holder
                if (known := _bundled(holder, name)) is not None:
                    yield known, _bundled_source(), holder
            if holder == OPENAI:
                yield Priced([(None, {})]), "", holder  # what only the table has


def _of_providers(providers: Iterable[OwnProvider], name: str) -> Iterator[Priced]:
    for provider in providers:
        if (priced := provider.find(name)) is not None:
            yield priced


def _context(tier: str | None) -> dict[str, str]:
    """Give what genai-prices calls the tier. Groq's name for its standard is ``on_demand``."""
    if tier in (None, "", "default", "auto", "standard", "on_demand"):
        return {}
    return {"processing": "batch"} if tier == "batch" else {"service_tier": str(tier)}


def _names(model: str, provider: str) -> list[str]:
    """Give the name as it is, its base model, and both without a date.

    Fine-tuned models have rates of their own, never those of their base.
    """
    name = model.lower()
    if name.startswith("ft:"):
        return [name]
    if provider in (OPENAI, AZURE):
        base = normalise(model)
        undated = DATE.sub("", base)
        return list(dict.fromkeys((name, base, undated, SHORT_DATE.sub("", undated))))
    tail = name.rpartition("/")[2]
    return list(dict.fromkeys((name, DATE.sub("", name), tail, DATE.sub("", tail))))


def _by_hand(model: str) -> Rates:
    """Give the table's prices of a model. A fine-tuned model's organisation and name do not matter."""
    name = model.lower()
    names = [":".join(name.split(":")[:2])] if name.startswith("ft:") else _names(model, OPENAI)
    return next((price_table.MODELS[one] for one in names if one in price_table.MODELS), {})


@lru_cache(maxsize=1)
def _bundled_source() -> str:
    return f"genai-prices/{version('genai-prices')}"


def load() -> None:
    """Read what comes with genai-prices now: it takes a third of a second, once."""
    _providers()


@lru_cache(maxsize=1)
def _providers() -> Sequence[Provider]:
    from genai_prices import data_snapshot  # noqa: PLC0415 - see `addons.openai.pricing.rates`

    return data_snapshot.get_snapshot().providers


def is_loaded() -> bool:
    """Tell whether that is done."""
    return _providers.cache_info().currsize > 0


@lru_cache(maxsize=256)
def _provider_of(host: str, path: str) -> str | None:
    url = f"https://{host}{path}"
    return next((provider.id for provider in _providers() if re.match(provider.api_pattern, url)), None)


@lru_cache(maxsize=64)
def _fallbacks(provider: str) -> tuple[str, ...]:
    """Give other providers' models that a provider sells too: Azure those of OpenAI."""
    known = next((one for one in _providers() if one.id == provider), None)
    return tuple(known.fallback_model_providers or ()) if known else ()


@lru_cache(maxsize=2048)
def _bundled(provider: str, name: str) -> Priced | None:
    """Give the prices that genai-prices has. The cache is bounded: names come from clients."""
    known = next((one for one in _providers() if one.id == provider), None)
    model = known.find_model(name) if known else None
    return priced_of(model) if model else None


def priced_of(model: ModelInfo) -> Priced:
    """Give the prices of a model of genai-prices, in whichever release."""
    prices: Any = model.prices
    entries = (
        [(entry.constraint, entry.prices) for entry in prices]
        if isinstance(prices, list)
        else [(None, prices)]
    )
    return Priced(
        [(constraint, _rates_of(held)) for constraint, held in entries],
        [
            (variant.when, variant.constraint, _rates_of(variant.prices))
            for variant in getattr(model, "price_variants", None) or ()
        ],
    )


def _rates_of(prices: object) -> Rates:
    rates = {key: _rate_of(value) for key, value in vars(prices).items()}
    return {key: rate for key, rate in rates.items() if rate is not None}


def _rate_of(value: Any) -> Rate | None:
    if isinstance(value, Decimal):
        return value
    if not hasattr(value, "tiers"):
        return None
    return TieredPrices(value.base, [Tier(tier.start, tier.price) for tier in value.tiers])

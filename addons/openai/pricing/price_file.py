"""Read an operator's own prices, in the form of genai-prices' data: one provider or a list, as JSON or YAML.

::

    - id: openai                        # before, and beside, what is known of OpenAI
      models:
        - id: gpt-4o
          match: {equals: gpt-4o}       # or starts_with, ends_with, contains, regex, or, and
          prices: {input_mtok: 2, cache_read_mtok: 1, output_mtok: 8}
    - id: ours
      api_pattern: https://gpu\\.example\\.com    # a server of one's own
      models: [...]

https://github.com/pydantic/genai-prices describes all of it; its whole ``data.json`` can be given.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from addons.openai.pricing import litellm_map
from addons.openai.pricing.prices import OwnProvider, Priced, Prices, Variant
from addons.openai.pricing.rates import (
    AllOf,
    AnyOf,
    Constraint,
    FromDate,
    Match,
    Named,
    Pattern,
    Rate,
    Rates,
    Tier,
    TieredPrices,
    TimeOfDay,
)

PRICE_KEY = re.compile(
    r"(?:input|output|cache|audio|web|social|storage|rerank|code|requests)_"
    r"(?:[a-z0-9]+_)*(?:mtok|mchars|hours|kcount|kpages|gpixels)|requests_kcount|audio_hours"
)
CLAUSES: Mapping[str, Callable[[str], Match]] = {
    **{how: partial(Named, how) for how in ("equals", "starts_with", "ends_with", "contains")},
    "regex": Pattern,
}
MODEL_KEYS = ("id", "match", "prices", "price_variants")
"""It is that of a model, what prices are read from."""
GROUPS: Mapping[str, Callable[[Any], Match]] = {"or": AnyOf, "and": AllOf}


class BadPrices(ValueError):
    """Says that it is not a price file; the text names the place and the remedy, on one line."""


def parse(text: str, name: str) -> Prices:
    """Read the prices of a file whose content is `text`. Raises BadPrices.

    >>> parse('[{"id": "openai", "models": [{"id": "x", "prices": {"input_mtok": 1}}]}]', "x.json").name
    'x.json'
    """
    try:
        value = _load(text)
        providers = [value] if isinstance(value, Mapping) else value
        if not isinstance(providers, list) or not providers:
            raise BadPrices("it must hold a list of providers, each with id and models")
        return Prices([_provider(item, f"[{index}]") for index, item in enumerate(providers)], name)
    except RecursionError as error:
        raise BadPrices("it is nested too deep") from error


def normalise(text: str) -> tuple[str, list[str]]:
    """Rewrite a list of prices so that :func:`parse` takes it; also returns a line for each thing left out.

    Takes genai-prices' data, a file in that form, or LiteLLM's model map. A newer list may have prices or
    matches that this version does not know: those models, or those prices of a model, are left out, and what
    they are for stays without a price. Raises BadPrices where nothing is left.
    """
    try:
        value = _load(text)
        found = litellm_map.convert(value) if litellm_map.is_model_map(value) else value
        providers, left_out = _usable([found] if isinstance(found, Mapping) else found)
    except RecursionError as error:
        raise BadPrices("it is nested too deep") from error
    return json.dumps(providers, default=str, separators=(",", ":")), left_out


def _usable(value: object) -> tuple[list[dict[str, Any]], list[str]]:
    if not isinstance(value, list):
        raise BadPrices("it must hold a list of providers, each with id and models, or LiteLLM's model map")
    left_out: list[str] = []
    providers = []
    for index, item in enumerate(value):
        place = f"[{index}]"
        try:
            _provider({**_mapping(item, place), "models": []}, place)
            models = list(_usable_models(item.get("models"), place, left_out))
        except BadPrices as error:
            left_out.append(str(error))
            continue
        if models:
            kept = {key: item[key] for key in ("id", "api_pattern") if item.get(key) is not None}
            providers.append({**kept, "models": models})
    if not providers:
        raise BadPrices(
            f"no model in it has a price that can be read ({left_out[0] if left_out else 'it is empty'})"
        )
    return providers, left_out


def _usable_models(value: object, place: str, left_out: list[str]) -> Iterator[dict[str, Any]]:
    for index, item in enumerate(value if isinstance(value, list) else ()):
        where = f"{place}.models[{index}]"
        try:
            model = {key: item[key] for key in MODEL_KEYS if _mapping(item, where).get(key) is not None}
            model = _without_unknown_prices(model, f"{where} {model.get('id')}", left_out)
            _model(model, where)
        except BadPrices as error:
            left_out.append(str(error))
        else:
            yield model


def _without_unknown_prices(model: dict[str, Any], place: str, left_out: list[str]) -> dict[str, Any]:
    """Leave out of a model the prices whose names this version does not know."""

    def known(prices: object) -> object:
        if not isinstance(prices, Mapping):
            return prices
        unknown = [str(key) for key in prices if not PRICE_KEY.fullmatch(str(key))]
        if unknown:
            left_out.append(f"{place}: unknown prices {', '.join(unknown)}")
        return {key: rate for key, rate in prices.items() if str(key) not in unknown}

    def entries(value: object) -> object:
        if not isinstance(value, list):
            return value
        return [
            {**entry, "prices": known(entry.get("prices"))} if isinstance(entry, Mapping) else entry
            for entry in value
        ]

    prices = model.get("prices")
    if prices is None:
        return model
    kept = {"prices": entries(prices) if isinstance(prices, list) else known(prices)}
    if "price_variants" in model:
        kept["price_variants"] = entries(model["price_variants"])
    return {**model, **kept}


def _load(text: str) -> Any:
    """Give the value of a JSON or YAML text. Not all JSON is YAML (tabs), nor the other way round."""
    try:
        return json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError as error:
        not_json = error
    try:
        return YAML(typ="safe", pure=True).load(io.StringIO(text))
    except YAMLError as error:
        if text.lstrip()[:1] in ("[", "{"):
            place = f"line {not_json.lineno}, column {not_json.colno}"
            raise BadPrices(f"{place}: not JSON: {not_json.msg}") from error
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise BadPrices(f"{place}not YAML: {what}") from error


def _provider(item: object, place: str) -> OwnProvider:
    provider = _mapping(item, place)
    pattern = provider.get("api_pattern")
    if pattern is not None:
        _regex(pattern, f"{place}.api_pattern")
    models = provider.get("models")
    if not isinstance(models, list):
        raise BadPrices(f"{place}.models: write a list of models")
    return OwnProvider(
        _text(provider, "id", place),
        pattern,
        [_model(model, f"{place}.models[{index}]") for index, model in enumerate(models)],
    )


def _model(item: object, place: str) -> tuple[Match, Priced]:
    model = _mapping(item, place)
    name = _text(model, "id", place)
    if "prices" not in model:
        raise BadPrices(f"{place}: model {name!r} has no prices")
    prices = model["prices"]
    entries = prices if isinstance(prices, list) else [{"prices": prices}]
    held = []
    for index, entry in enumerate(entries):
        where = f"{place}.prices[{index}]" if isinstance(prices, list) else f"{place}.prices"
        conditional = _mapping(entry, where)
        held.append((_constraint(conditional, where), _rates(conditional.get("prices"), where)))
    match = _match(model.get("match") or {"equals": name}, f"{place}.match")
    return match, Priced(held, _variants(model, place))


def _variants(model: Mapping[str, Any], place: str) -> list[Variant]:
    variants: list[Variant] = []
    items = model.get("price_variants") or []
    if not isinstance(items, list):
        raise BadPrices(f"{place}.price_variants: write a list of prices, each with when")
    for index, item in enumerate(items):
        where = f"{place}.price_variants[{index}]"
        variant = _mapping(item, where)
        when = _mapping(variant.get("when"), f"{where}.when")
        variants.append((dict(when), _constraint(variant, where), _rates(variant.get("prices"), where)))
    return variants


def _match(value: object, place: str) -> Match:
    """Say which names the model goes by."""
    kind, content = (
        next(iter(value.items())) if isinstance(value, Mapping) and len(value) == 1 else ("", None)
    )
    if kind == "regex":
        _regex(content, place)
    if kind in CLAUSES and isinstance(content, str):
        return CLAUSES[kind](content)
    if kind in GROUPS and isinstance(content, list):
        return GROUPS[kind]([_match(item, f"{place}.{kind}[{index}]") for index, item in enumerate(content)])
    raise BadPrices(f"{place}: use one of {', '.join([*CLAUSES, *GROUPS])}")


def _constraint(entry: Mapping[str, Any], place: str) -> Constraint | None:
    value = entry.get("constraint")
    if value is None:
        return None
    constraint = _mapping(value, f"{place}.constraint")
    try:
        if "start_date" in constraint:
            return FromDate(_parsed(date, constraint["start_date"]))
        start, end = constraint["start_time"], constraint["end_time"]
        return TimeOfDay(_parsed(time, start), _parsed(time, end))
    except (KeyError, TypeError, ValueError) as error:
        raise BadPrices(
            f"{place}.constraint: write start_date: 2026-01-31, or start_time and end_time: 16:30:00Z"
        ) from error


def _parsed(kind: Any, value: Any) -> Any:
    return value if isinstance(value, kind) else kind.fromisoformat(value)


def _rates(value: object, place: str) -> Rates:
    rates: dict[str, Rate] = {}
    for key, price in _mapping({} if value is None else value, place).items():
        where = f"{place}.{key}"
        if not PRICE_KEY.fullmatch(str(key)):
            raise BadPrices(f"{where}: no such price; use input_mtok, cache_read_mtok, output_mtok, ...")
        if price is not None:
            rates[str(key)] = _rate(price, where)
    return rates


def _rate(value: object, place: str) -> Rate:
    if not isinstance(value, Mapping):
        return _decimal(value, place)
    tiers = value.get("tiers")
    if not isinstance(tiers, list) or set(value) != {"base", "tiers"}:
        raise BadPrices(f"{place}: write a number, or base and tiers")
    return TieredPrices(
        _decimal(value["base"], f"{place}.base"),
        sorted(
            (_tier(tier, f"{place}.tiers[{index}]") for index, tier in enumerate(tiers)),
            key=lambda tier: tier.start,
        ),
    )


def _tier(item: object, place: str) -> Tier:
    tier = _mapping(item, place)
    start = tier.get("start")
    if not isinstance(start, int) or isinstance(start, bool) or start < 0:
        raise BadPrices(f"{place}.start: write the number of input tokens above which the price holds")
    return Tier(start, _decimal(tier.get("price"), f"{place}.price"))


def _decimal(value: object, place: str) -> Decimal:
    """Give a price as it was written; YAML's numbers come as floats, whose text is what was written."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or number < 0:
        raise BadPrices(f"{place}: {value!r} is no price; write US dollars, such as 2.5")
    return number


def _regex(value: object, place: str) -> None:
    try:
        re.compile(value)  # type: ignore[call-overload]
    except (re.error, TypeError) as error:
        raise BadPrices(f"{place}: {value!r} is no regular expression") from error


def _mapping(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadPrices(f"{place}: write keys and values here, not {type(value).__name__}")
    return value


def _text(holder: Mapping[str, Any], key: str, place: str) -> str:
    value = holder.get(key)
    if not isinstance(value, str) or not value:
        raise BadPrices(f"{place}.{key}: write a name")
    return value

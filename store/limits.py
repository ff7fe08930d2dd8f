"""What a token or a project may use: the limits, how they are written, and when their periods begin and end.

Both may have limits, and the stricter holds: what is counted is checked against each by its own use, what is
a list has to be allowed by both, and :func:`budget_mode` and its like pick the stricter of the two words.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from store import moments
from store.errors import Invalid

NANO = 10**9
"""Money is kept in whole billionths of a dollar."""
USD, TOKENS = "usd", "tokens"
UNITS = (USD, TOKENS)
TOTAL = "total"
PERIODS = ("hour", "day", "week", "month", TOTAL)
"""Of budgets, in UTC. `total` never ends."""
BUDGET_MODES = ("expected", "strict")
"""What a call holds of a budget: what such calls have used, or the most that it can. The default first."""
BUDGET_ENDS = ("finish", "cut")
"""What becomes of a stream that goes beyond its budget. The default first."""

LARGEST = 2**53 - 1
"""Of any number: what JSON's readers take as it is."""
LARGEST_USD = 10**9 - 1
MOST_ENTRIES = 100
LONGEST_ENTRY = 128

HOUR = 3600


@dataclass(frozen=True, slots=True, order=True)
class Budget:
    """So much of a unit in each period."""

    unit: str
    period: str
    amount: int
    """Nano-USD or tokens."""

    @property
    def name(self) -> str:
        """As limits are named everywhere: ``usd/day``."""
        return f"{self.unit}/{self.period}"

    def __str__(self) -> str:
        return f"{number_text(self.unit, self.amount)}{self.unit}/{self.period}"


@dataclass(frozen=True, slots=True)
class Limits:
    """All that may be limited; None and empty stand for no limit."""

    expires_at: datetime | None = None
    """When it all ends. Of projects; a token's own is :attr:`store.models.Token.expires_at`."""
    max_requests: int | None = None
    """Calls in all. Of projects; a token's own is :attr:`store.models.Token.max_requests`."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    """Calls at the same time."""
    budgets: tuple[Budget, ...] = ()
    models: tuple[str, ...] = ()
    """Globs."""
    endpoints: tuple[str, ...] = ()
    """Names or risk classes (:mod:`addons.openai.endpoints`)."""
    max_output_tokens: int | None = None
    """Of one call."""
    networks: tuple[str, ...] = ()
    """Of clients, as ``10.0.0.0/8``."""
    budget_mode: str | None = None
    on_budget_end: str | None = None

    @property
    def need_claims(self) -> bool:
        """Whether a call has to ask the ledger before it may pass."""
        return bool(
            self.budgets
            or self.max_requests is not None
            or self.requests_per_minute is not None
            or self.tokens_per_minute is not None
            or self.max_concurrent is not None
        )

    def budget(self, unit: str, period: str) -> int | None:
        """The amount of one of the budgets."""
        return next((b.amount for b in self.budgets if (b.unit, b.period) == (unit, period)), None)

    def changed(self, changes: Mapping[str, Any]) -> Limits:
        """With these fields instead, checked."""
        return of(replace(self, **changes).as_dict())

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: only what is set."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        shown = {
            name: list(v) if isinstance(v, tuple) else v for name, v in found.items() if v not in (None, ())
        }
        if self.expires_at is not None:
            shown["expires_at"] = self.expires_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self.budgets:
            budgets: dict[str, dict[str, Any]] = {}
            shown["budgets"] = budgets
            for budget in sorted(self.budgets, key=lambda b: (UNITS.index(b.unit), PERIODS.index(b.period))):
                money = budget.unit == USD
                amount = number_text(USD, budget.amount) if money else budget.amount
                budgets.setdefault(budget.unit, {})[budget.period] = amount
        return shown

    def as_json(self) -> str:
        """As the store keeps it."""
        return json.dumps(self.as_dict(), ensure_ascii=False, sort_keys=True)


NONE = Limits()


def of(value: Mapping[str, Any]) -> Limits:
    """Limits from their JSON form. Raises Invalid, which names the limit, the value and the remedy."""
    known = {f.name: f for f in fields(Limits)}
    if unknown := sorted(set(value) - set(known)):
        raise Invalid(f"limit {unknown[0][:40]!r}: use {', '.join(known)}.")
    found: dict[str, Any] = {name: given for name, given in value.items() if given is not None}
    for name in ("requests_per_minute", "tokens_per_minute", "max_concurrent", "max_output_tokens"):
        if name in found:
            found[name] = whole(name, found[name], least=1)
    if "expires_at" in found:
        found["expires_at"] = _moment(found["expires_at"])
    if "max_requests" in found:
        found["max_requests"] = whole("max_requests", found["max_requests"])
    for name in ("models", "endpoints", "networks"):
        if name in found:
            found[name] = _entries(name, found[name])
    if "networks" in found:
        found["networks"] = tuple(_network(entry) for entry in found["networks"])
    if "budgets" in found:
        found["budgets"] = _budgets(found["budgets"])
    for name, words in (("budget_mode", BUDGET_MODES), ("on_budget_end", BUDGET_ENDS)):
        if name in found and found[name] not in words:
            raise Invalid(f"{name} {str(found[name])[:40]!r}: use {' or '.join(words)}.")
    return Limits(**found)


def from_json(text: str) -> Limits:
    """Limits as the store keeps them."""
    return NONE if text == "{}" else of(json.loads(text))


# The stricter of two


def budget_mode(*limits: Limits) -> str:
    """strict where one of them says so."""
    return _word("budget_mode", BUDGET_MODES, limits)


def on_budget_end(*limits: Limits) -> str:
    """cut where one of them says so."""
    return _word("on_budget_end", BUDGET_ENDS, limits)


def max_output_tokens(*limits: Limits) -> int | None:
    """The smaller one."""
    return min(
        (each.max_output_tokens for each in limits if each.max_output_tokens is not None), default=None
    )


def _word(name: str, words: Sequence[str], limits: Sequence[Limits]) -> str:
    default, stricter = words
    return stricter if any(getattr(each, name) == stricter for each in limits) else default


# Periods


def period_start(period: str, at: float) -> int:
    """When the period that `at` (seconds since 1970) falls into began; 0 for `total`."""
    return 0 if period == TOTAL else _start(period, int(at // HOUR))


def period_end(period: str, at: float) -> int | None:
    """When that period ends and the next one begins; None for `total`."""
    if period == TOTAL:
        return None
    start = period_start(period, at)
    if period == "month":
        return period_start(
            "month", start + 32 * 24 * HOUR
        )  # it has 31 days at most, the next one 28 at least
    return start + {"hour": 1, "day": 24, "week": 7 * 24}[period] * HOUR


@lru_cache(maxsize=1024)
def _start(period: str, hour: int) -> int:
    """Asked for several times by every call."""
    moment = datetime.fromtimestamp(hour * HOUR, UTC)
    if period != "hour":
        moment = moment.replace(hour=0)
    if period == "week":
        moment -= timedelta(days=moment.weekday())
    elif period == "month":
        moment = moment.replace(day=1)
    return int(moment.timestamp())


# Values


def whole(name: str, value: Any, *, least: int = 0) -> int:
    """A whole number from `least` on."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST:
        raise Invalid(f"{name} {str(value)[:40]!r}: use a whole number from {least} on.")
    return value


def parse_budget(text: str, *, default_period: str | None = None) -> Budget:
    """``5usd/day``, ``100000tokens/month``. Without a period it is `default_period`, if there is one."""
    match = re.fullmatch(r"([0-9.]+) ?([a-z]+)(?:/([a-z]+))?", text.strip().lower())
    period = match and (match[3] or default_period)
    if not match or match[2] not in UNITS or period not in PERIODS:
        raise Invalid(
            f"budget {text[:40]!r}: write 5usd/day or 100000tokens/month; periods are {', '.join(PERIODS)}."
        )
    return Budget(match[2], period, amount_of(match[2], match[1]))


def amount_of(unit: str, value: Any) -> int:
    """Nano-USD of dollars as a decimal (text, so that none is lost), or a number of tokens."""
    if unit == TOKENS:
        value = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
        return whole("budget in tokens", value)
    try:
        dollars = Decimal(str(value))
        nano = int(dollars * NANO)
        if isinstance(value, bool) or nano != dollars * NANO or not 0 <= dollars <= LARGEST_USD:
            raise Invalid(f"budget {str(value)[:40]!r} usd: use 0 to {LARGEST_USD}, with at most 9 decimals.")
    except (InvalidOperation, ValueError, OverflowError):
        raise Invalid(f"budget {str(value)[:40]!r} usd: use a number such as 5 or 0.25.") from None
    return nano


def number_text(unit: str, amount: int) -> str:
    """An amount for people: dollars without needless zeros (but cents as two), tokens as they are."""
    if unit != USD:
        return str(amount)
    digits, decimals = divmod(abs(amount), NANO)
    fraction = f"{decimals:09d}".rstrip("0")
    sign = "-" if amount < 0 else ""
    return f"{sign}{digits}" + (f".{fraction:0<2}" if fraction else "")


def _budgets(value: Any) -> tuple[Budget, ...]:
    if not isinstance(value, Mapping):
        raise Invalid('budgets: write {"usd": {"day": "5"}, "tokens": {"month": 100000}}.')
    found = []
    for unit, periods in value.items():
        if unit not in UNITS or not isinstance(periods, Mapping):
            raise Invalid(
                f"budgets {str(unit)[:40]!r}: the units are {' and '.join(UNITS)}, each with its periods."
            )
        for period, amount in periods.items():
            if period not in PERIODS:
                raise Invalid(f"budget period {str(period)[:40]!r}: use {', '.join(PERIODS)}.")
            found.append(Budget(unit, period, amount_of(unit, amount)))
    return tuple(sorted(found))


def _entries(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) > MOST_ENTRIES:
        raise Invalid(f"{name}: give a list of at most {MOST_ENTRIES} texts.")
    for entry in value:
        usable = isinstance(entry, str) and entry.isprintable() and entry == entry.strip()
        if not usable or not 0 < len(entry) <= LONGEST_ENTRY:
            raise Invalid(f"{name} {str(entry)[:40]!r}: use 1 to {LONGEST_ENTRY} printable characters.")
    return tuple(dict.fromkeys(value))


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str):
        raise Invalid(f"expires_at {str(value)[:40]!r}: give a text such as 2027-01-31T12:00:00Z.")
    moment = moments.expiry(value)
    return moment and moment.astimezone(UTC)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise Invalid(f"network {text[:60]!r}: {error}; write 10.0.0.0/8 or 192.0.2.7.") from None

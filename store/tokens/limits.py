"""Define what a token or a project may use: the limits, and how they are written.

Both may have limits, and the stricter holds: what is counted is checked against each by its own use, what is
a list has to be allowed by both, and :func:`budget_mode` and its like pick the stricter of the two words.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from enum import Enum
from functools import cached_property
from typing import Annotated, Any, Literal, get_type_hints

from store.core import times
from store.core.errors import Invalid
from store.core.times import rfc3339
from store.tokens.amounts import UNITS, USD, Budget, amount_of, number_text, whole
from store.tokens.calendar import DAYS, PERIODS, USUAL, UTC_NAME, Calendar

BUDGET_MODES = ("expected", "strict")
"""It is what a call holds of a budget: what such calls have used, or the most that it can. The default
first."""
BUDGET_ENDS = ("finish", "cut")
"""It is what becomes of a stream that goes beyond its budget. The default first."""

MOST_ENTRIES = 100
LONGEST_ENTRY = 128


class Window(Enum):
    """Says over what the use of a limit is counted, in the order in which they are read and shown."""

    TOTAL = "in all"
    RUNNING = "at the same time"
    MINUTE = "in any 60 seconds"
    PERIODS = "in each period"


Amount = Literal["requests", "tokens", "nano_usd", "running"]
"""It is what is counted."""
RATES = (Window.MINUTE, Window.RUNNING)
"""It is what passes by itself within a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Describes one limit: how its value is written and checked, and what of a call it counts."""

    flag: str
    """The option that sets it."""
    help: str
    counts: Amount | None = None
    """None for what is no matter of counting; of budgets it depends on their unit."""
    window: Window | None = None
    words: str = ""
    """It is what it counts, in a refusal."""
    of_projects: bool = False
    """It tells whether only projects have it; a token has a field of its own
    (:class:`store.tokens.models.Token`)."""
    name: str = ""
    """It is that of the attribute."""

    def parse(self, value: Any) -> Any:
        """Check a value of the JSON form. Raises Invalid."""
        raise NotImplementedError

    def show(self, value: Any) -> Any:
        """Give the JSON form."""
        return value

    def unit(self, _name: str) -> str:
        """Give what a limit of this name counts: usd, tokens, requests or calls (that are under way)."""
        return "calls" if self.counts == "running" else str(self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count(Limit):
    """Takes a whole number."""

    least: int = 1

    def parse(self, value: Any) -> int:
        return whole(self.name, value, least=self.least)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends(Limit):
    """Takes a moment."""

    def parse(self, value: Any) -> datetime | None:
        return _moment(value)

    def show(self, value: datetime) -> str:
        return rfc3339(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts(Limit):
    """Takes what is allowed, a text each."""

    metavar: str

    def parse(self, value: Any) -> tuple[str, ...]:
        return _entries(self.name, value)

    def show(self, value: tuple[str, ...]) -> list[str]:
        return list(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks(Texts):
    """Takes networks of clients."""

    def parse(self, value: Any) -> tuple[str, ...]:
        return tuple(_network(entry) for entry in _entries(self.name, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints(Texts):
    """Takes names or risk classes (:mod:`addons.openai.endpoints`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word(Limit):
    """Takes one of a few words, the default first; where two limits differ, any other one is the stricter."""

    words_known: tuple[str, ...]

    def parse(self, value: Any) -> str:
        if value not in self.words_known:
            raise Invalid(f"{self.name} {str(value)[:40]!r}: use {' or '.join(self.words_known)}.")
        return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone(Limit):
    """Takes a time zone's name."""

    def parse(self, value: Any) -> str:
        times.time_zone(str(value))
        return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets(Limit):
    """Takes amounts of money or tokens in periods."""

    def parse(self, value: Any) -> tuple[Budget, ...]:
        return _budgets(value)

    def show(self, value: tuple[Budget, ...]) -> dict[str, dict[str, Any]]:
        budgets: dict[str, dict[str, Any]] = {}
        for budget in sorted(value, key=lambda b: (UNITS.index(b.unit), PERIODS.index(b.period))):
            amount = number_text(USD, budget.amount) if budget.unit == USD else budget.amount
            budgets.setdefault(budget.unit, {})[budget.period] = amount
        return budgets

    def unit(self, name: str) -> str:
        return name.partition("/")[0]


@dataclass(frozen=True)  # no slots: what every call asks for is worked out once
class Limits:
    """Holds all that may be limited; None and empty stand for no limit.

    This is the list of limits: their JSON, options, columns of CSV files, use and refusals are made from it.
    """

    expires_at: Annotated[
        datetime | None,
        Ends(
            flag="--expires",
            help="When all its tokens end: 30d, 12h, a date, or never.",
            of_projects=True,
        ),
    ] = None
    """It says when it all ends. Of projects; a token's own is
    :attr:`store.tokens.models.Token.expires_at`."""
    max_requests: Annotated[
        int | None,
        Count(
            flag="--max-requests",
            help="Calls in all, of all its tokens.",
            counts="requests",
            window=Window.TOTAL,
            words="requests",
            of_projects=True,
            least=0,
        ),
    ] = None
    """Calls in all. Of projects; a token's own is :attr:`store.tokens.models.Token.max_requests`."""
    requests_per_minute: Annotated[
        int | None,
        Count(
            flag="--rpm",
            help="Calls in any 60 seconds.",
            counts="requests",
            window=Window.MINUTE,
            words="requests per minute",
        ),
    ] = None
    tokens_per_minute: Annotated[
        int | None,
        Count(
            flag="--tpm",
            help="Tokens in any 60 seconds.",
            counts="tokens",
            window=Window.MINUTE,
            words="tokens per minute",
        ),
    ] = None
    max_concurrent: Annotated[
        int | None,
        Count(
            flag="--max-concurrent",
            help="Calls at the same time.",
            counts="running",
            window=Window.RUNNING,
            words="calls at the same time",
        ),
    ] = None
    budgets: Annotated[
        tuple[Budget, ...],
        Budgets(
            flag="--budget",
            help=f"5usd/day, 100000tokens/month, 20usd/total ({', '.join(PERIODS)}); may be repeated. "
            "usd/day=none removes one, none all.",
            window=Window.PERIODS,
        ),
    ] = ()
    budget_mode: Annotated[
        str | None,
        Word(
            flag="--budget-mode",
            help="strict: hold the most that each call can use, so that no budget is exceeded; expected (the "
            "default): what such calls have used, and budgets can be exceeded (see token explain).",
            words_known=BUDGET_MODES,
        ),
    ] = None
    time_zone: Annotated[
        str | None,
        Zone(
            flag="--budget-zone",
            help="Whose days, weeks and months these budgets have: Europe/Berlin.  [default: UTC]",
        ),
    ] = None
    week_start: Annotated[
        str | None,
        Word(flag="--week-start", help="First day of these budgets' weeks.", words_known=DAYS),
    ] = None
    on_budget_end: Annotated[
        str | None,
        Word(
            flag="--on-budget-end",
            help="What becomes of a stream that goes beyond a budget.",
            words_known=BUDGET_ENDS,
        ),
    ] = None
    models: Annotated[
        tuple[str, ...],
        Texts(flag="--model", help="Only such models; may be repeated.", metavar="GLOB"),
    ] = ()
    endpoints: Annotated[
        tuple[str, ...],
        Endpoints(
            flag="--endpoint",
            help="Only this endpoint or risk class; may be repeated.",
            metavar="NAME",
        ),
    ] = ()
    max_output_tokens: Annotated[
        int | None, Count(flag="--max-output-tokens", help="Longest answer of one call.")
    ] = None
    networks: Annotated[
        tuple[str, ...],
        Networks(flag="--network", help="Only clients of this network; may be repeated.", metavar="CIDR"),
    ] = ()

    @cached_property
    def calendar(self) -> Calendar:
        """Say when the periods of the budgets begin and end."""
        if self.time_zone is None and self.week_start is None:
            return USUAL
        return Calendar(self.time_zone or UTC_NAME, self.week_start or DAYS[0])

    @cached_property
    def counted(self) -> list[tuple[Limit, Any]]:
        """Give those that are set and counted, with their values, in the order in which they are shown."""
        found = ((limit, getattr(self, limit.name)) for limit in COUNTED)
        return [(limit, value) for limit, value in found if value is not None and value != ()]

    @property
    def need_claims(self) -> bool:
        """Tell whether a call has to ask the ledger before it may pass."""
        return bool(self.counted)

    def counts_over(self, *windows: Window) -> bool:
        """Tell whether one of these limits is set."""
        return any(limit.window in windows for limit, _ in self.counted)

    @cached_property
    def units(self) -> frozenset[str]:
        """Give what is counted: usd, tokens, requests, calls."""
        budgets = frozenset(budget.unit for budget in self.budgets)
        return budgets.union(limit.unit(limit.name) for limit, _ in self.counted if limit.counts)

    def budget(self, unit: str, period: str) -> int | None:
        """Give the amount of one of the budgets."""
        return next((b.amount for b in self.budgets if (b.unit, b.period) == (unit, period)), None)

    def changed(self, changes: Mapping[str, Any]) -> Limits:
        """Give the limits with these fields instead, checked."""
        return of(replace(self, **changes).as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form: only what is set."""
        found = ((limit, getattr(self, name)) for name, limit in LIMITS.items())
        return {limit.name: limit.show(value) for limit, value in found if value not in (None, ())}

    def as_json(self) -> str:
        """Write it as the store keeps it."""
        return json.dumps(self.as_dict(), ensure_ascii=False, sort_keys=True)


def _listed() -> dict[str, Limit]:
    hints = get_type_hints(Limits, include_extras=True)
    return {one.name: replace(hints[one.name].__metadata__[0], name=one.name) for one in fields(Limits)}


LIMITS: Mapping[str, Limit] = _listed()
"""All limits, by name."""
COUNTED = [limit for window in Window for limit in LIMITS.values() if limit.window is window]
NONE = Limits()


def limit_named(name: str) -> Limit:
    """Give the limit of this name; budgets are named as ``usd/day``."""
    return LIMITS["budgets" if "/" in name else name]


def of(value: Mapping[str, Any]) -> Limits:
    """Read limits from their JSON form. Raises Invalid, which names the limit, the value and the remedy."""
    if unknown := sorted(set(value) - set(LIMITS)):
        raise Invalid(f"limit {unknown[0][:40]!r}: use {', '.join(LIMITS)}.")
    return Limits(**{name: LIMITS[name].parse(given) for name, given in value.items() if given is not None})


def from_json(text: str) -> Limits:
    """Read limits as the store keeps them."""
    return NONE if text == "{}" else of(json.loads(text))


# The stricter of two


def budget_mode(*limits: Limits) -> str:
    """Give strict where one of them says so."""
    return _word("budget_mode", BUDGET_MODES, limits)


def on_budget_end(*limits: Limits) -> str:
    """Give cut where one of them says so."""
    return _word("on_budget_end", BUDGET_ENDS, limits)


def max_output_tokens(*limits: Limits) -> int | None:
    """Give the smaller one."""
    return min(
        (each.max_output_tokens for each in limits if each.max_output_tokens is not None), default=None
    )


def stricter(one: Limits, other: Limits) -> Limits:
    """Give the smaller of each budget, where both have it; for limits that have nothing but budgets."""
    if not (one.budgets and other.budgets):
        return one if one.budgets else other
    least: dict[tuple[str, str], Budget] = {}
    for budget in sorted((*one.budgets, *other.budgets), key=lambda each: -each.amount):
        least[budget.unit, budget.period] = budget
    return Limits(budgets=tuple(sorted(least.values())))


def _word(name: str, words: Sequence[str], limits: Sequence[Limits]) -> str:
    default, stricter = words
    return stricter if any(getattr(each, name) == stricter for each in limits) else default


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
    moment = times.expiry(value)
    return moment and moment.astimezone(UTC)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise Invalid(f"network {text[:60]!r}: {error}; write 10.0.0.0/8 or 192.0.2.7.") from None

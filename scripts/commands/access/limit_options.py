"""Define options of ``llmproxy project`` and ``llmproxy token`` about limits."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from addons.openai.endpoints import KNOWN_NAMES, RISK_CLASSES
from scripts.options import Expiry
from scripts.output import show, show_all
from store.core.errors import Invalid
from store.core.times import NEVER
from store.ledger.account import Gauge
from store.ledger.use import shown
from store.tokens import amounts, limits
from store.tokens.amounts import UNITS, Budget
from store.tokens.calendar import PERIODS, TOTAL
from store.tokens.fields import Field
from store.tokens.limits import (
    LIMITS,
    Budgets,
    Count,
    Endpoints,
    Ends,
    Limit,
    Limits,
    Networks,
    Texts,
    Word,
    Zone,
)
from store.tokens.models import Project
from store.tokens.subjects import Side

NO = "none"
"""In place of a value: no such limit."""


class Number(click.ParamType[int | str]):
    """Reads a whole number, or ``none``."""

    name = "number|none"

    def __init__(self, least: int = 1) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == NO or isinstance(value, int):
            return value  # type: ignore[no-any-return]
        if not (value.isascii() and value.isdigit() and int(value) >= self.least):
            self.fail(f"{value!r}: use a whole number from {self.least} on, or none.", param, ctx)
        return int(value)


class Amount(click.ParamType[Budget | tuple[str, str] | str]):
    """Reads ``5usd/day``; ``usd/day=none`` for what is to be removed, or ``none`` for all."""

    name = "amount"

    def __init__(self, default_period: str | None = None) -> None:
        self.default_period = default_period

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Budget | tuple[str, str] | str:
        if not isinstance(value, str) or value == NO:
            return value  # type: ignore[no-any-return]
        unit, _, period = value.removesuffix(f"={NO}").partition("/")
        period = period or self.default_period or ""
        if value.endswith(f"={NO}") and unit in UNITS and period in PERIODS:
            return unit, period
        try:
            return amounts.parse_budget(value, default_period=self.default_period)
        except Invalid as error:
            self.fail(str(error), param, ctx)


class Topup(click.ParamType[Budget]):
    """Reads ``5usd``, ``5usd/day``."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Budget:
        if isinstance(value, Budget):
            return value
        try:
            return amounts.parse_budget(value, default_period=TOTAL)
        except Invalid as error:
            self.fail(str(error), param, ctx)


class EndpointName(click.ParamType[str]):
    """Reads an endpoint or a risk class."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != NO and value not in KNOWN_NAMES and value not in RISK_CLASSES:
            self.fail(
                f"{value!r}: there is no such endpoint or class; docs/endpoints.md lists them.", param, ctx
            )
        return value


@dataclass(frozen=True, slots=True)
class LimitChanges:
    """Holds what options say, by the names of :class:`store.tokens.limits.Limits`; only what was given."""

    given: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.given)

    def __call__(self, present: Limits) -> Limits:
        """Give the limits that there are then. Raises Invalid."""
        changes: dict[str, Any] = {}
        for name, value in self.given.items():
            if name == "budgets":
                changes[name] = _budgets(present.budgets, value)
            elif isinstance(value, tuple):
                changes[name] = () if NO in value else value
            else:
                changes[name] = None if value in (NO, NEVER) else value
        return present.changed(changes)


class LabelChanges:
    """Holds what options say of the limits of labels."""

    def __init__(self, given: Iterable[tuple[OneLimit, str]]) -> None:
        """Take pairs of a limit and ``LABEL=LIMIT``; ``none`` removes it. Raises Invalid or UsageError."""
        self._given: dict[str, dict[str, Any]] = {}
        for one, text in given:
            label, _, value = text.partition("=")
            if not label or not value:
                raise Invalid(
                    f"{one.flag} {text[:80]!r}: write the label and its limit, such as {one.sample}."
                )
            said = self._given.setdefault(label, {})
            found = NO if value == NO else one.value_of_label(value)
            if one.limit.name == "budgets":
                said["budgets"] = (*said.get("budgets", ()), found)
            else:
                said[one.limit.name] = found

    def __call__(self, present: Mapping[str, Limits]) -> Mapping[str, Limits]:
        """Give the limits that there are then. Raises Invalid."""
        changed = {
            label: LimitChanges(said)(present.get(label, limits.NONE)) for label, said in self._given.items()
        }
        return {**present, **changed}


def _budgets(
    present: Sequence[Budget], given: Sequence[Budget | tuple[str, str] | str]
) -> tuple[Budget, ...]:
    found = {} if NO in given else {(budget.unit, budget.period): budget for budget in present}
    for each in given:
        if isinstance(each, Budget):
            found[each.unit, each.period] = each
        elif isinstance(each, tuple):
            found.pop(each, None)
    return tuple(found.values())


TOPUP = click.argument("amount", type=Topup(), metavar="AMOUNT")


def of_claimed(*sides: Side) -> Callable[[Any], Any]:
    """Add options that name a user, address or label; the command gets `claimed`: None, or side and name."""
    words = {
        "user": ("NAME", "To this user's budget instead, as `report budgets` names it."),
        "address": ("IP", "To this client address's budget instead."),
        "label": ("LABEL=VALUE", "To the budget of this label's value instead: team=search."),
    }

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapped(*args: Any, **values: Any) -> Any:
            named = {side: value for side in sides if (value := values.pop(side)) is not None}
            if len(named) > 1:
                raise click.UsageError(f"give one of {', '.join(f'--{side}' for side in named)}.")
            return command(*args, claimed=next(iter(named.items()), None), **values)

        for side in reversed(sides):
            metavar, text = words[side]
            wrapped = click.option(f"--{side}", side, metavar=metavar, help=text)(wrapped)
        return wrapped

    return add


class OneLimit:
    """Says how one limit is written: as an option, and in a cell of a CSV file."""

    def __init__(self, limit: Limit, of: Field) -> None:
        """Take as `of` the field that holds the limits, whose option is what their flags begin with."""
        assert of.option is not None
        self.limit, self.of = limit, of
        self.help = f"{of.option.help} {limit.help}" if of.only else limit.help
        self.name = f"{of.name}_{limit.name}"
        """It is that of the option's value."""
        self.flag = of.option.flag + limit.flag.removeprefix("--")
        self.column = self.flag.removeprefix("--").replace("-", "_")
        """It is that of a CSV file."""

    def option(self) -> Callable[[Any], Any]:
        """Make the option of a command."""
        return click.option(self.flag, self.name, help=self.help, **self.details())

    def option_of_label(self) -> Callable[[Any], Any]:
        """Make the option of a command whose values begin with a label: ``team=60``."""
        return click.option(self.flag, self.name, help=self.help, metavar="LABEL=LIMIT", multiple=True)

    def details(self) -> dict[str, Any]:
        """Give the details of the option."""
        raise NotImplementedError

    def cell(self, text: str) -> Any:
        """Read a cell that is not empty; spaces separate values. Raises Invalid or UsageError."""
        raise NotImplementedError

    def value_of_label(self, text: str) -> Any:
        """Read what stands behind a label. Raises Invalid or UsageError."""
        return self.cell(text)

    @property
    def sample(self) -> str:
        """Give an example for a label."""
        return "team=60"


class CountOption(OneLimit):
    """Takes a whole number, or ``none``."""

    limit: Count

    def details(self) -> dict[str, Any]:
        return {"type": Number(self.limit.least)}

    def cell(self, text: str) -> Any:
        return Number(self.limit.least).convert(text, None, None)


class EndsOption(OneLimit):
    """Takes a time to come, or ``never``."""

    def details(self) -> dict[str, Any]:
        return {"type": Expiry()}


class WordOption(OneLimit):
    """Takes a word, or ``none``."""

    limit: Word

    def details(self) -> dict[str, Any]:
        return {"type": click.Choice([*self.limit.words_known, NO])}

    def cell(self, text: str) -> Any:
        return text


class ZoneOption(OneLimit):
    """Takes the name of a time zone, or ``none``."""

    def details(self) -> dict[str, Any]:
        return {"metavar": "ZONE"}

    def cell(self, text: str) -> Any:
        return text


class TextsOption(OneLimit):
    """Takes several texts."""

    limit: Texts

    def details(self) -> dict[str, Any]:
        return {"metavar": self.limit.metavar, "multiple": True}

    def cell(self, text: str) -> Any:
        return tuple(text.split())


class EndpointsOption(OneLimit):
    """Takes several endpoints or risk classes."""

    def details(self) -> dict[str, Any]:
        return {"type": EndpointName(), "multiple": True}

    def cell(self, text: str) -> Any:
        return tuple(EndpointName().convert(each, None, None) for each in text.split())


class BudgetsOption(OneLimit):
    """Takes several amounts."""

    def details(self) -> dict[str, Any]:
        return {"type": Amount(self.of.period), "multiple": True}

    def cell(self, text: str) -> Any:
        return tuple(amounts.parse_budget(each, default_period=self.of.period) for each in text.split())

    def value_of_label(self, text: str) -> Any:
        return Amount(self.of.period).convert(text, None, None)

    @property
    def sample(self) -> str:
        return "team=5usd/day"


WRITTEN: dict[type[Limit], type[OneLimit]] = {
    Count: CountOption,
    Ends: EndsOption,
    Word: WordOption,
    Texts: TextsOption,
    Networks: TextsOption,
    Endpoints: EndpointsOption,
    Budgets: BudgetsOption,
    Zone: ZoneOption,
}


@functools.cache
def limit_options(model: type, field: Field) -> tuple[OneLimit, ...]:
    """List the options of a field of Token or Project; a project's are for all its tokens."""
    limits = [limit for limit in LIMITS.values() if model is Project or not limit.of_projects]
    if field.only:
        limits = [limit for limit in limits if limit.name in field.only]
    return tuple(WRITTEN[type(limit)](limit, field) for limit in limits)


def show_with_use(of: Mapping[str, Any], gauges: Sequence[Gauge], *, as_json: bool) -> None:
    """Show a token or a project, and what is used of each limit."""
    rows = shown(gauges, time.time())
    if as_json:
        show({**of, "use": rows}, as_json=True)
        return
    show(of, as_json=False)
    if rows:
        click.echo()
        show_use(rows, as_json=False)


def show_gauges(gauges: Sequence[Gauge], *, as_json: bool) -> None:
    """Show what is used of some limits at this moment."""
    show_use(shown(gauges, time.time()), as_json=as_json)


def show_use(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None, *, as_json: bool
) -> None:
    """Show what is used of some limits."""
    show_all(
        rows,
        columns or (list(rows[0]) if rows else []),
        as_json=as_json,
        nothing="Nothing is limited.",
        droppable=("held", "resets_at", "allowed", "used"),
    )

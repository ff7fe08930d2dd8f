"""Options of ``llmproxy project`` and ``llmproxy token`` about limits."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from addons.openai.endpoints import KNOWN_NAMES, RISK_CLASSES
from scripts.options import Command, Expiry
from scripts.output import show, show_all
from store import limits
from store.errors import Invalid
from store.ledger.account import Gauge
from store.ledger.use import shown
from store.limits import BUDGET_ENDS, BUDGET_MODES, NONE, PERIODS, TOTAL, UNITS, Budget, Limits
from store.moments import NEVER

NO = "none"
"""In place of a value: no such limit."""


class Number(click.ParamType[int | str]):
    """A whole number, or ``none``."""

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
    """``5usd/day``; ``usd/day=none`` for what is to be removed, or ``none`` for all."""

    name = "amount"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Budget | tuple[str, str] | str:
        if not isinstance(value, str) or value == NO:
            return value  # type: ignore[no-any-return]
        unit, _, period = value.removesuffix(f"={NO}").partition("/")
        if value.endswith(f"={NO}") and unit in UNITS and period in PERIODS:
            return unit, period
        try:
            return limits.parse_budget(value)
        except Invalid as error:
            self.fail(str(error), param, ctx)


class Topup(click.ParamType[Budget]):
    """``5usd``, ``5usd/day``."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Budget:
        if isinstance(value, Budget):
            return value
        try:
            return limits.parse_budget(value, default_period=TOTAL)
        except Invalid as error:
            self.fail(str(error), param, ctx)


class EndpointName(click.ParamType[str]):
    """An endpoint or a risk class."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != NO and value not in KNOWN_NAMES and value not in RISK_CLASSES:
            self.fail(
                f"{value!r}: there is no such endpoint or class; docs/endpoints.md lists them.", param, ctx
            )
        return value


@dataclass(frozen=True, slots=True)
class LimitChanges:
    """What the options say, by the names of :class:`store.limits.Limits`; only what was given."""

    given: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.given)

    def __call__(self, present: Limits) -> Limits:
        """The limits that there are then. Raises Invalid."""
        changes: dict[str, Any] = {}
        for name, value in self.given.items():
            if name == "budgets":
                changes[name] = _budgets(present.budgets, value)
            elif isinstance(value, tuple):
                changes[name] = () if NO in value else value
            else:
                changes[name] = None if value in (NO, NEVER) else value
        return present.changed(changes)

    @property
    def made(self) -> Limits:
        """For what is new."""
        return self(NONE)


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


OPTIONS: dict[str, Callable[[Command], Command]] = {
    "requests_per_minute": click.option(
        "--rpm", "requests_per_minute", type=Number(), help="Calls in any 60 seconds."
    ),
    "tokens_per_minute": click.option(
        "--tpm", "tokens_per_minute", type=Number(), help="Tokens in any 60 seconds."
    ),
    "max_concurrent": click.option("--max-concurrent", type=Number(), help="Calls at the same time."),
    "budgets": click.option(
        "--budget",
        "budgets",
        type=Amount(),
        multiple=True,
        help=f"5usd/day, 100000tokens/month, 20usd/total ({', '.join(PERIODS)}; UTC); may be repeated. "
        "usd/day=none removes one, none all.",
    ),
    "budget_mode": click.option(
        "--budget-mode",
        type=click.Choice([*BUDGET_MODES, NO]),
        help="Hold what such calls have used, or the most that each can use.",
    ),
    "on_budget_end": click.option(
        "--on-budget-end",
        type=click.Choice([*BUDGET_ENDS, NO]),
        help="What becomes of a stream that goes beyond a budget.",
    ),
    "models": click.option(
        "--model", "models", metavar="GLOB", multiple=True, help="Only such models; may be repeated."
    ),
    "endpoints": click.option(
        "--endpoint",
        "endpoints",
        type=EndpointName(),
        multiple=True,
        help="Only this endpoint or risk class; may be repeated.",
    ),
    "max_output_tokens": click.option(
        "--max-output-tokens", type=Number(), help="Longest answer of one call."
    ),
    "networks": click.option(
        "--network",
        "networks",
        metavar="CIDR",
        multiple=True,
        help="Only clients of this network; may be repeated.",
    ),
}
TOPUP = click.argument("amount", type=Topup(), metavar="AMOUNT")
CSV_LIMITS = {
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
    "max_concurrent": "max_concurrent",
    "budget": "budgets",
    "budget_mode": "budget_mode",
    "on_budget_end": "on_budget_end",
    "model": "models",
    "endpoint": "endpoints",
    "max_output_tokens": "max_output_tokens",
    "network": "networks",
}
"""Columns of a CSV file, named as the options; several values are separated by spaces."""
OF_PROJECTS: dict[str, Callable[[Command], Command]] = {
    "expires_at": click.option(
        "--expires", "expires_at", type=Expiry(), help="When all its tokens end: 30d, 12h, a date, or never."
    ),
    "max_requests": click.option("--max-requests", type=Number(0), help="Calls in all, of all its tokens."),
}


def limits_of_row(row: Mapping[str, str]) -> Limits:
    """Of a row of a CSV file. Raises UsageError or Invalid."""
    given: dict[str, Any] = {}
    for column, name in CSV_LIMITS.items():
        text = row.get(column, "").strip()
        if not text:
            continue
        if name in ("requests_per_minute", "tokens_per_minute", "max_concurrent", "max_output_tokens"):
            given[name] = Number().convert(text, None, None)
        elif name == "budgets":
            given[name] = tuple(limits.parse_budget(each) for each in text.split())
        elif name == "endpoints":
            given[name] = tuple(EndpointName().convert(each, None, None) for each in text.split())
        else:
            given[name] = tuple(text.split()) if name in ("models", "networks") else text
    return LimitChanges(given).made


def token_limits(command: Command) -> Command:
    """Add the options to a command, which gets them as `limits`. 'none' removes a limit."""
    return _added(command, OPTIONS)


def project_limits(command: Command) -> Command:
    """The same for projects, whose limits are for all their tokens together."""
    return _added(command, OF_PROJECTS | OPTIONS)


def _added(command: Command, options: Mapping[str, Callable[[Command], Command]]) -> Command:
    @functools.wraps(command)
    def wrapped(*args: Any, **values: Any) -> Any:
        given = {name: values.pop(name) for name in options}
        changes = LimitChanges({name: value for name, value in given.items() if value not in (None, ())})
        return command(*args, limits=changes, **values)

    for option in reversed(list(options.values())):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def show_with_use(of: Mapping[str, Any], gauges: Sequence[Gauge], *, as_json: bool) -> None:
    """A token or a project, and what is used of each limit."""
    rows = shown(gauges, time.time())
    if as_json:
        show({**of, "use": rows}, as_json=True)
        return
    show(of, as_json=False)
    if rows:
        click.echo()
        show_all(rows, list(rows[0]), as_json=False, nothing="")

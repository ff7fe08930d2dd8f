"""Give the fields of tokens and projects options, and columns of a CSV file: one way for each kind of field.

:mod:`store.tokens.models` lists the fields.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar

import click

from scripts.commands.access.limit_options import LabelChanges, LimitChanges, OneLimit, limit_options
from scripts.options import Command, Expiry, Pair
from store.core.errors import Invalid
from store.tokens.fields import (
    LABELS,
    LIMITS,
    MOMENT,
    NAMES,
    NUMBER,
    PAIRS,
    TEXT,
    Field,
    Kind,
    offered_fields,
)
from store.tokens.limits import NONE

KEEP: Any = object()
"""Nothing was said about the field."""
Values = dict[str, Any]
Row = Mapping[str, str]
Decorator = Callable[[Any], Any]


class Way:
    """Says how one field of a model is written by a person."""

    def __init__(self, field: Field, model: type) -> None:
        assert field.option is not None
        self.field, self.model, self.option = field, model, field.option
        self.bare = field.option.flag.removeprefix("--")
        """The option without its dashes."""

    @property
    def columns(self) -> Sequence[str]:
        """Give the columns of a CSV file."""
        return (self.bare.replace("-", "_"),)

    @property
    def beginning(self) -> str:
        """Give the beginning of further columns, such as ``metadata.``; empty where there are none."""
        return ""

    def options(self, *, new: bool) -> Sequence[Decorator]:
        """Give the options for what is made (`new`) or changed."""
        raise NotImplementedError

    def said(self, values: Values) -> Any:
        """Take what the options say from `values`: a value, a function of the present one, or KEEP."""
        raise NotImplementedError

    def cell(self, row: Row) -> Any:
        """Give what a row of a CSV file says, or KEEP. Raises Invalid or UsageError."""
        raise NotImplementedError

    def text(self, row: Row) -> str:
        """Give the field's cell; empty where the file has no such column."""
        return row.get(self.columns[0], "").strip()


class Text(Way):
    """Takes one value, in one option."""

    type: ClassVar[click.ParamType[Any]] = click.STRING

    def options(self, *, new: bool) -> Sequence[Decorator]:
        name, option = self.field.name, self.option
        found = [click.option(option.flag, name, type=self.type, help=option.help)]
        if option.removal and not new:
            found.append(click.option(f"--no-{self.bare}", f"no_{name}", is_flag=True, help=option.removal))
        return found

    def said(self, values: Values) -> Any:
        value, removed = values.pop(self.field.name), values.pop(f"no_{self.field.name}", False)
        if removed:
            return None
        return KEEP if value is None else self.meant(value)

    def meant(self, value: Any) -> Any:
        """Give what an option's value stands for."""
        return value

    def cell(self, row: Row) -> Any:
        return self.text(row) or KEEP


class Number(Text):
    """Takes a whole number."""

    type = click.IntRange(0)

    def cell(self, row: Row) -> Any:
        if not (text := self.text(row)):
            return KEEP
        if not (text.isascii() and text.isdigit()):
            raise Invalid(f"{self.columns[0]} {text[:40]!r}: use a number, or nothing for any.")
        return int(text)


class Moment(Text):
    """Takes a time to come, or ``never``."""

    type = Expiry()

    def meant(self, value: Any) -> Any:
        return value if isinstance(value, datetime) else None

    def cell(self, row: Row) -> Any:
        text = self.text(row)
        return self.meant(self.type.convert(text, None, None)) if text else KEEP


class Pairs(Way):
    """Takes KEY=VALUE each, or a JSON object of all."""

    def options(self, *, new: bool) -> Sequence[Decorator]:
        name, option = self.field.name, self.option
        single = click.option(option.flag, name, type=Pair(), multiple=True, help=option.help)
        removal = click.option(
            f"--remove-{self.bare}", f"no_{name}", metavar="KEY", multiple=True, help=option.removal
        )
        whole = click.option(
            f"{option.flag}-json",
            f"all_{name}",
            type=JsonObject(),
            help="Pairs as a JSON object of texts."
            if new
            else "All pairs, as a JSON object, in place of those it has.",
        )
        return [single, whole] if new else [single, removal, whole]

    def said(self, values: Values) -> Any:
        name = self.field.name
        pairs, whole, removed = values.pop(name), values.pop(f"all_{name}"), values.pop(f"no_{name}", ())
        if not pairs and not removed and whole is None:
            return KEEP

        def change(present: Mapping[str, str]) -> Mapping[str, Any]:
            changed = {**(present if whole is None else whole), **dict(pairs)}
            return {key: text for key, text in changed.items() if key not in removed}

        return change

    @property
    def beginning(self) -> str:
        return f"{self.columns[0]}."

    def cell(self, row: Row) -> Any:
        """Read what a row says.

        The field's own column has a JSON object, a further one the text of the key that it names.
        """
        whole = JsonObject().convert(self.text(row) or "{}", None, None)
        single = {name: text for name, text in row.items() if name.startswith(self.beginning) and text}
        return {**whole, **{name.removeprefix(self.beginning): text for name, text in single.items()}}


class Names(Way):
    """Takes names, each in an option of its own."""

    def options(self, *, new: bool) -> Sequence[Decorator]:
        name, option = self.field.name, self.option
        found = [click.option(option.flag, name, metavar="NAME", multiple=True, help=option.help)]
        if not new:
            flag = f"--remove-{self.bare}"
            found.append(click.option(flag, f"no_{name}", metavar="NAME", multiple=True, help=option.removal))
        return found

    def said(self, values: Values) -> Any:
        names, removed = values.pop(self.field.name), values.pop(f"no_{self.field.name}", ())
        if not names and not removed:
            return KEEP

        def change(present: Sequence[str]) -> Sequence[str]:
            gone = set(removed)
            for name in removed:
                with suppress(Invalid):  # what can be no name is not there
                    gone.update(self.field.normal([name]))
            return [*(name for name in present if name not in gone), *names]

        return change

    def cell(self, row: Row) -> Any:
        return self.text(row).split()


class EachLimit(Way):
    """Takes an option for each limit."""

    def options(self, *, new: bool) -> Sequence[Decorator]:  # noqa: ARG002 - the same for both
        return [one.option() for one in self.limits]

    @property
    def limits(self) -> Sequence[OneLimit]:
        return limit_options(self.model, self.field)

    def said(self, values: Values) -> Any:
        given = {one.limit.name: values.pop(one.name) for one in self.limits}
        return LimitChanges({name: value for name, value in given.items() if value not in (None, ())}) or KEEP

    @property
    def columns(self) -> Sequence[str]:
        return tuple(one.column for one in self.limits)

    def cell(self, row: Row) -> Any:
        cells = [(one, row.get(one.column, "").strip()) for one in self.limits]
        return LimitChanges({one.limit.name: one.cell(text) for one, text in cells if text})(NONE)


class EachLabel(EachLimit):
    """Takes an option for each limit, whose values begin with the label's name: ``team=5usd/day``."""

    def options(self, *, new: bool) -> Sequence[Decorator]:  # noqa: ARG002 - the same for both
        return [one.option_of_label() for one in self.limits]

    def said(self, values: Values) -> Any:
        given = [(one, text) for one in self.limits for text in values.pop(one.name)]
        try:
            return LabelChanges(given) if given else KEEP
        except Invalid as error:
            raise click.UsageError(str(error)) from error

    def cell(self, row: Row) -> Any:
        given = [(one, text) for one in self.limits for text in row.get(one.column, "").split()]
        return LabelChanges(given)({}) if given else KEEP


WAYS: dict[Kind, type[Way]] = {
    PAIRS: Pairs,
    NAMES: Names,
    TEXT: Text,
    MOMENT: Moment,
    NUMBER: Number,
    LIMITS: EachLimit,
    LABELS: EachLabel,
}
"""In the order of the options."""


@functools.cache
def ways(model: type) -> tuple[Way, ...]:
    """List how the fields of Token or Project are written, in the order of the options."""
    fields, order = offered_fields(model), list(WAYS)
    return tuple(
        WAYS[field.kind](field, model) for field in sorted(fields, key=lambda one: order.index(one.kind))
    )


def field_options(model: type, *, new: bool) -> Decorator:
    """Add the options of all fields to a command, which gets what they say as `fields`, by their names."""

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(*args: Any, **values: Any) -> Any:
            said = {way.field.name: way.said(values) for way in ways(model)}
            fields = {name: value for name, value in said.items() if value is not KEEP}
            return command(*args, fields=fields, **values)

        added = [option for way in ways(model) for option in way.options(new=new)]
        for option in reversed(added):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]

    return add


class JsonObject(click.ParamType[Mapping[str, Any]]):
    """Reads a JSON object."""

    name = "json"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        try:
            found = json.loads(value, object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError) as error:
            self.fail(f"{value[:80]!r} is not JSON: {error}.", param, ctx)
        if not isinstance(found, Mapping):
            self.fail(f'{value[:80]!r}: write an object, such as \'{{"team": "search"}}\'.', param, ctx)
        return found


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found

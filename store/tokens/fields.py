"""Define the fields of tokens and projects: a column, JSON, an option, a field of the API, from one line.

:mod:`store.tokens.models` lists the fields; rows, JSON, audit log, commands and management API are made from
that list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, replace
from dataclasses import fields as attributes_of
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, get_type_hints

from store.core.times import rfc3339
from store.keys.project_keys import StoredKey
from store.tokens import label_limits, limits
from store.tokens.limits import Limits


def _as_it_is(value: Any) -> Any:
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _pairs(text: str) -> Mapping[str, str]:
    return MappingProxyType(dict(json.loads(text)))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _shown_moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Says how the values of a field are kept and shown."""

    read: Callable[[Any], Any] = _as_it_is
    """From the column."""
    show: Callable[[Any], Any] = _as_it_is
    """As JSON."""
    is_json: bool = False
    """It tells whether the column holds JSON."""


TEXT = Kind()
NUMBER = Kind()
FLAG = Kind(read=bool)
MOMENT = Kind(read=_moment, show=_shown_moment)
PAIRS = Kind(read=_pairs, show=dict, is_json=True)
NAMES = Kind(read=_names, show=list, is_json=True)
LIMITS = Kind(read=limits.from_json, show=Limits.as_dict, is_json=True)
LABELS = Kind(read=label_limits.from_json, show=label_limits.as_dict, is_json=True)
KEY = Kind(read=StoredKey, show=lambda key: key.kind)


@dataclass(frozen=True, slots=True)
class Option:
    """Says how commands take a field. The management API takes all fields that have one, by their names."""

    flag: str
    """Such as ``--expires``. Without the dashes it is the column of a CSV file."""
    help: str
    removal: str = ""
    """Help of the option that removes the value, or one of them."""


@dataclass(frozen=True, slots=True)
class InList:
    """Describes a column of ``llmproxy token list``."""

    place: int
    """From the left."""
    keep: int | None = None
    """On a terminal that is too narrow the lowest ones are left out first; None for never."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """Holds what the annotation of a model's attribute says about it."""

    kind: Kind
    keep: Callable[[Any], Any] | None = None
    """Check a value and return what the column holds. Raises Invalid. None: no one decides the value."""
    option: Option | None = None
    column: str = ""
    """By default the field's name."""
    audited: bool = True
    """False for what is a piece of a secret, or no one's decision."""
    in_list: InList | None = None
    only: Sequence[str] = ()
    """It is that of limits: the only ones that there can be; empty for all."""
    period: str | None = None
    """It is that of budgets: the period that is meant where none is said."""
    name: str = ""
    """It is that of the attribute."""
    default: Any = None

    def changed(self, given: Any, present: Any) -> Any:
        """Return what the column holds of `given`: a value, or a function of the present one."""
        assert self.keep is not None, f"{self.name} cannot be set"
        return self.keep(given(present) if callable(given) else given)

    def normal(self, value: Any) -> Any:
        """Return `value` in the form in which it is read again. Raises Invalid."""
        return self.kind.read(self.changed(value, self.default))


@cache
def fields_of(model: type) -> Mapping[str, Field]:
    """List the fields of Token or Project, by name, in the order of their JSON."""
    hints = get_type_hints(model, include_extras=True)
    found = {}
    for attribute in attributes_of(model):
        note: Field = hints[attribute.name].__metadata__[0]
        default = attribute.default if attribute.default_factory is MISSING else attribute.default_factory()
        found[attribute.name] = replace(
            note,
            name=attribute.name,
            column=note.column or attribute.name,
            default=None if default is MISSING else default,
        )
    return MappingProxyType(found)


@cache
def offered_fields(model: type) -> tuple[Field, ...]:
    """List those that commands and the management API take."""
    return tuple(field for field in fields_of(model).values() if field.option is not None)


def as_json(of: Any) -> dict[str, Any]:
    """Show a token or a project as JSON."""
    model: type = type(of)
    return {name: show(getattr(of, name)) for name, show in _shows(model)}


@cache
def _shows(model: type) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    return tuple((field.name, field.kind.show) for field in fields_of(model).values())


def columns(model: type, given: Mapping[str, Any], present: Any = None) -> dict[str, Any]:
    """Return the columns of what is `given`, by the names of fields: values, or functions of present ones.

    `present` is the token or project to change; without one the columns of a new one are returned, with
    defaults for what is not given. Raises Invalid; TypeError for a name that is no field's.
    """
    fields = {name: field for name, field in fields_of(model).items() if field.keep is not None}
    if unknown := given.keys() - fields.keys():
        raise TypeError(f"{model.__name__} has no such field: {', '.join(sorted(unknown))}")
    return {
        field.column: field.changed(
            given.get(name, field.default), field.default if present is None else getattr(present, name)
        )
        for name, field in fields.items()
        if name in given or present is None
    }

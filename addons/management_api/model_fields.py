"""Read the fields of tokens and projects as the management API takes them: one reader for each kind.

:mod:`store.tokens.models` lists the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields
from store.core.errors import Invalid
from store.tokens.amounts import Budget, parse_budget
from store.tokens.calendar import TOTAL
from store.tokens.fields import LABELS, LIMITS, MOMENT, NAMES, NUMBER, PAIRS, TEXT, Kind, offered_fields
from store.tokens.subjects import Side

READERS: dict[Kind, Callable[[Fields, str], Any]] = {
    TEXT: Fields.text,
    NUMBER: Fields.whole,
    MOMENT: Fields.expiry,
    PAIRS: Fields.pairs,
    NAMES: lambda fields, name: fields.names(name) or (),
    LIMITS: Fields.limits,
    LABELS: Fields.label_limits,
}


def names_of(model: type) -> tuple[str, ...]:
    """List the fields of Token or Project that may be given."""
    return tuple(field.name for field in offered_fields(model))


def given(fields: Fields, model: type) -> dict[str, Any]:
    """Return what is given of them: values, or functions of the present ones; a list replaces the present."""
    return {
        field.name: READERS[field.kind](fields, field.name)
        for field in offered_fields(model)
        if field.name in fields
    }


def claimed(fields: Fields, sides: Sequence[Side]) -> tuple[Side, str] | None:
    """Give the one user, address or label that is named, and its side; None where the budget is another's."""
    named = [(side, text) for side in sides if (text := fields.text(side)) is not None]
    if len(named) > 1:
        raise ApiError(400, "invalid_value", f"{named[1][0]}: give one of {', '.join(sides)}.", named[1][0])
    return named[0] if named else None


def topup(fields: Fields) -> Budget:
    """Give what is added to a budget, in the field `amount`; without a period it is the one in all."""
    amount = fields.required("amount")
    try:
        return parse_budget(amount, default_period=TOTAL)
    except Invalid as error:
        raise ApiError(400, "invalid_value", str(error), "amount") from error

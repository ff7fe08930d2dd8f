"""The fields that projects and tokens have in common: metadata, header names, limits, top-ups."""

from __future__ import annotations

from typing import Any

from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields
from store.errors import Invalid
from store.limits import NONE, TOTAL, Budget, parse_budget

LABELS = ("metadata", "header_metadata", "limits")


def given(fields: Fields) -> dict[str, Any]:
    """Of what is made: values."""
    return {
        "metadata": fields.pairs("metadata")({}),
        "header_metadata": fields.names("header_metadata") or (),
        "limits": fields.limits("limits")(NONE),
    }


def changed(fields: Fields) -> dict[str, Any]:
    """Of what is changed: functions of what there is; names are the whole list, as it is to be."""
    changes: dict[str, Any] = {}
    if "metadata" in fields:
        changes["metadata"] = fields.pairs("metadata")
    if "header_metadata" in fields:
        changes["header_metadata"] = fields.names("header_metadata") or ()
    if "limits" in fields:
        changes["limits"] = fields.limits("limits")
    return changes


def topup(fields: Fields) -> Budget:
    """What is added to a budget, in the field `amount`; without a period it is the one in all."""
    amount = fields.required("amount")
    try:
        return parse_budget(amount, default_period=TOTAL)
    except Invalid as error:
        raise ApiError(400, "invalid_value", str(error), "amount") from error

"""Describe the fields of projects and tokens for the page: made from the models, so none is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from store.core.errors import Invalid
from store.tokens import limits
from store.tokens.fields import LABELS, MOMENT, NAMES, NUMBER, PAIRS, TEXT, Field, Kind, offered_fields
from store.tokens.fields import LIMITS as SET_OF_LIMITS
from store.tokens.limits import LIMITS, Limit
from store.tokens.models import Project, Token

KINDS: Mapping[Kind, str] = {
    TEXT: "text",
    NUMBER: "number",
    MOMENT: "moment",
    PAIRS: "pairs",
    NAMES: "names",
    SET_OF_LIMITS: "limits",
    LABELS: "labels",
}
KINDS_OF_LIMITS: Sequence[tuple[type[Limit], str]] = (
    (limits.Count, "number"),
    (limits.Ends, "moment"),
    (limits.Texts, "names"),
    (limits.Word, "choice"),
    (limits.Budgets, "budgets"),
)
SAMPLES: Mapping[str, Sequence[Any]] = {
    "number": (1,),
    "moment": ("2100-01-01T00:00:00Z",),
    "names": (["10.0.0.0/8"],),
    "budgets": ({"usd": {"day": "5"}}, {"usd": {"total": "5"}}),
    "text": ("UTC",),
}
"""By which a field says whether it takes a limit. One that no sample fits is offered all the same."""


@cache
def form_fields() -> dict[str, list[dict[str, Any]]]:
    """List the fields of `project` and of `token`: name, kind of input, help; of limits, which of them."""
    return {
        name: [_field(field) for field in offered_fields(model)]
        for name, model in (("project", Project), ("token", Token))
    }


def _field(field: Field) -> dict[str, Any]:
    assert field.option is not None
    found: dict[str, Any] = {"name": field.name, "kind": KINDS[field.kind], "help": field.option.help}
    if field.kind is SET_OF_LIMITS:
        found["limits"] = [_limit(one) for one in LIMITS.values() if _takes(field, one)]
    return found


def _limit(limit: Limit) -> dict[str, Any]:
    words = list(limit.words_known) if isinstance(limit, limits.Word) else None
    return {"name": limit.name, "kind": _kind(limit), "help": limit.help, "words": words}


def _kind(limit: Limit) -> str:
    return next((word for kind, word in KINDS_OF_LIMITS if isinstance(limit, kind)), "text")


def _takes(field: Field, limit: Limit) -> bool:
    samples = [limit.words_known[-1]] if isinstance(limit, limits.Word) else SAMPLES[_kind(limit)]
    return any(_is_taken(field, limit, sample) for sample in samples)


def _is_taken(field: Field, limit: Limit, sample: Any) -> bool:
    assert field.keep is not None
    try:
        value = limits.of({limit.name: sample})
    except Invalid:
        return True
    try:
        field.keep(value)
    except Invalid:
        return False
    return True

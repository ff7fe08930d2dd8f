"""What the update functions of :class:`store.tokens.TokenStore` take, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from store import validation
from store.limits import Limits
from store.models import Project, Token

KEEP: Any = object()
"""Default of the update functions: leave this field as it is."""
Pairs = Mapping[str, str]
Names = Sequence[str]
NewPairs = Pairs | Callable[[Pairs], Pairs]
NewNames = Names | Callable[[Names], Names]
NewLimits = Limits | Callable[[Limits], Limits]
"""All of them, or a function of the present ones: so no change of a part is lost to another's."""


def label_columns(present: Project | Token, metadata: NewPairs, header_metadata: NewNames) -> dict[str, str]:
    """The columns to write."""
    columns = {}
    if metadata is not KEEP:
        pairs = metadata(present.metadata) if callable(metadata) else metadata
        columns["metadata"] = validation.metadata(pairs)
    if header_metadata is not KEEP:
        names = header_metadata(present.header_metadata) if callable(header_metadata) else header_metadata
        columns["header_metadata"] = validation.header_metadata(names)
    return columns


def new_limits(present: Limits, new: NewLimits) -> Limits:
    return new(present) if callable(new) else new

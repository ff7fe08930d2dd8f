"""Hold limits for each value of a label: of a pair of metadata, such as each ``team``.

A label's value is what the token's metadata say, else its project's, else what the call's header claims.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from store.core.errors import Invalid
from store.tokens import limits, validation
from store.tokens.limits import Limits

MOST = 2
"""Labels of one token, or one project, that can have limits: a hold has a column for each."""
MARKS = re.compile("[=/]")
"""They part the name from other pieces of an id."""
NONE: Mapping[str, Limits] = MappingProxyType({})


def of(value: Mapping[str, Any]) -> Mapping[str, Limits]:
    """Read the limits by the names of labels, from their JSON form. Raises Invalid."""
    found = {}
    for name, given in value.items():
        if not isinstance(given, Mapping):
            raise Invalid(f"label {str(name)[:40]!r}: write its limits as an object.")
        found[str(name)] = limits.of(given)
    return MappingProxyType(found)


def as_dict(value: Mapping[str, Limits]) -> dict[str, dict[str, Any]]:
    """Give the JSON form."""
    return {name: each.as_dict() for name, each in value.items()}


def from_json(text: str) -> Mapping[str, Limits]:
    """Read them as the store keeps them."""
    return NONE if text == "{}" else of(json.loads(text))


def kept(value: Mapping[str, Limits]) -> str:
    """Check them, and give them as JSON text. Raises Invalid."""
    found = {name: each for name, each in value.items() if each.as_dict()}
    if len(found) > MOST:
        raise Invalid(
            f"label_limits has {len(found)} labels; at most {MOST} of a token, or of a project, have limits."
        )
    for name, each in found.items():
        if not 0 < len(name) <= validation.METADATA_KEY or not name.isprintable() or MARKS.search(name):
            raise Invalid(
                f"label {name[:80]!r}: use the name of a pair of metadata, 1 to {validation.METADATA_KEY} "
                "printable characters without = and /."
            )
        validation.limits_of_each(f"label_limits.{name}", each)
    return json.dumps(as_dict(found), ensure_ascii=False, sort_keys=True)

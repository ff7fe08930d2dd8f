"""Find the values of a request's fields by paths, such as ``temperature`` or ``tools[].type``: for decisions.

Every value counts that some parser may read: of names that are given twice each, of names that differ in case
or in space around them all. What a session or an answer is to be like stands within a member of its own
(``session``, ``response``), and counts as if it stood in the request itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from addons.openai.http.form import Form
from addons.openai.http.members import Repeated, object_of

MOST_VALUES = 1000
"""Different ones of one field."""
MOST_CHARACTERS = 1000
"""It is that of one value."""
WITHIN = ("session", "response")
Values = Mapping[str, Sequence[str]]
"""By path: the different values, as JSON writes them, without quotes; none where it is absent or null."""


class TooMany(Exception):
    """A field has more values, or a longer one, than are looked at; names the field."""


def parameters_in(value: Any, paths: Sequence[str]) -> Values | str:
    """Find the values of each path. Returns why not, where there are too many, or too long ones.

    >>> parameters_in({"n": 2, "tools": [{"type": "a"}, {"type": "b"}]}, ["n", "tools[].type", "top_p"])
    {'n': ('2',), 'tools[].type': ('a', 'b'), 'top_p': ()}
    """
    roots = [value, *(inner for name in WITHIN for inner in _members(value, name) if isinstance(inner, dict))]
    try:
        return {path: _values(roots, path) for path in paths}
    except TooMany as error:
        return str(error)


def parameters_in_event(data: bytes, paths: Sequence[str]) -> Values | str:
    """Find them in an event of a session's client."""
    try:
        value = json.loads(data, object_pairs_hook=object_of)
    except (ValueError, RecursionError):
        return "it is not JSON"
    return parameters_in(value, paths)


def parameters_in_form(form: Form, paths: Sequence[str]) -> Values | str:
    """Find them in a form, whose names may be paths (``a[b]``, ``a[]``), and whose texts may be JSON."""
    pairs = []
    for one in form.fields:
        if one.text is not None:
            first, *rest = one.name.replace("]", "").split("[")
            value: Any = _of_text(one.text)
            for name in reversed(rest):
                value = {name: value} if name else [value]
            pairs.append((first, value))
    return parameters_in(object_of(pairs), paths)


def _of_text(text: str) -> Any:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text, object_pairs_hook=object_of)
        except (ValueError, RecursionError):
            return text
    return text


def _values(roots: Sequence[Any], path: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for root in roots:
        for value in _at(root, path.split(".")):
            if value is None:
                continue
            text = _as_text(value)
            if len(text) > MOST_CHARACTERS:
                raise TooMany(f"{path} is longer than {MOST_CHARACTERS} characters")
            found[text] = None
            if len(found) > MOST_VALUES:
                raise TooMany(f"{path} has more than {MOST_VALUES} different values")
    return tuple(found)


def _at(value: Any, steps: Sequence[str]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    name, mark, _ = steps[0].partition("[]")
    for inner in _members(value, name):
        for one in inner if mark and isinstance(inner, list) else [inner]:
            yield from _at(one, steps[1:])


def _members(value: Any, name: str) -> Iterator[Any]:
    """Yield all values of a name, however it is written."""
    if isinstance(value, dict):
        pairs = value.pairs if isinstance(value, Repeated) else value.items()
        yield from (inner for key, inner in pairs if key.strip().lower() == name.lower())


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))

"""Find the objects that a request refers to: in its path, its query, its JSON or its form.

Read for decisions: names are taken in any case and however often they are repeated, as upstream might. Where
the API has such names is in :mod:`addons.openai.objects.fields`; the same names anywhere else are the user's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from addons.openai.http.form import Form
from addons.openai.http.json_bounds import LIGHT_BYTES
from addons.openai.http.members import Repeated, object_of
from addons.openai.objects import kinds
from addons.openai.objects.fields import NOTHING, QUERY_ANYWHERE, Field
from addons.openai.objects.kinds import Ref, is_fine_tuned, place_of

WORDS = frozenset({"auto", "none", "any", "latest"})
"""Values of the API's own in the place of an id."""
SELECTIONS = frozenset({"stored_completions", "responses", "logs"})
"""Data sources of evals that take whatever the project keeps."""
SPOKEN = frozenset({"prompt", "input", "instructions"})
"""Fields of a form whose text is for the model, whatever it looks like."""
ESCAPED = (b"\\u", b"\x00")
"""In a body that spells its names with escapes, or in UTF-16."""
LOOKS_LIKE = re.compile(
    r"(?:resp|conv|chatcmpl|file|upload|batch|ftjob|asst|thread|run|vs|cntr|skill|video|eval|cthr|rtc)[-_]\w{8,}"
    r"|ft:.+",
    re.IGNORECASE,
)
"""Ids, where nothing else tells."""

CONTAINERS = (list, dict)


@dataclass(frozen=True, slots=True)
class References:
    """Holds what a body refers to."""

    refs: tuple[Ref, ...] = ()
    unclear: str | None = None
    """It says why that cannot be told for sure."""


def in_target(path: str, query: str = "", names: Mapping[str, str] = QUERY_ANYWHERE) -> list[Ref]:
    """Give the objects that the path and the query of a request refer to; `names` are those of the query.

    >>> in_target("/v1/files/file-1/content")
    [Ref(kind='file', id='file-1', param=None)]
    """
    place = place_of(path)
    if place is None:
        found = [Ref("object", part) for part in path.split("/") if LOOKS_LIKE.fullmatch(part)]
    else:
        found = [] if place.id is None else [Ref(place.kind, place.id)]
    for name, value in parse_qsl(query, keep_blank_values=True) if names else ():
        kind = names.get(name.strip().lower())
        if kind is not None and value and (kind != kinds.MODEL or is_fine_tuned(value)):
            found.append(Ref(kind, value, name))
    return found


def in_value(value: Any, data: bytes, problem: str | None, named: Field) -> References:
    """Give the objects that a JSON body, `data`, refers to where it has the fields of `named`. Never raises.

    It has been read as `value`, or could not be, for this `problem`. To search the bytes of a prompt takes
    longer than to walk through its value; not so where all its depth counts, or it may have many values.
    """
    walked = problem is None and not named.deep and len(data) <= LIGHT_BYTES
    if not walked and not _may_name(data, named):
        return References()
    if problem is not None:
        return References(unclear=problem)
    return References(tuple(dict.fromkeys(referenced_ids(value, named))))


def in_event(data: bytes, named: Field) -> References:
    """Give the objects that an event of a WebSocket refers to. Never raises."""
    if not _may_name(data, named):
        return References()
    try:
        value, problem = json.loads(data, object_pairs_hook=object_of), None
    except (ValueError, RecursionError):
        value, problem = None, "the event is no JSON"
    return in_value(value, data, problem, named)


def _may_name(data: bytes, named: Field) -> bool:
    lowered = data.lower()
    return named is not NOTHING and any(mark in lowered for mark in _marks(named))


@lru_cache(maxsize=64)
def _marks(named: Field) -> tuple[bytes, ...]:
    """Give what stands in any body in which something is named: one without need not be parsed."""
    return (*ESCAPED, *sorted(set(_marks_of(named))))


def _marks_of(named: Field) -> Iterator[bytes]:
    yield from (b'"id"',) if named.item else ()
    for key, member in named.members.items():
        if member.kind is not None or member.source:
            yield b"ft:" if member.kind == kinds.MODEL else key.encode()
        yield from _marks_of(member)
    yield from _marks_of(named.others) if named.others else ()


def referenced_ids(value: Any, named: Field) -> list[Ref]:
    """Give the objects that parsed JSON refers to, as a body or an event with the fields of `named`.

    >>> from addons.openai.objects.fields import RESPONSES
    >>> referenced_ids({"conversation": {"id": "conv_1"}, "metadata": {"thread_id": "mine"}}, RESPONSES)
    [Ref(kind='conversation', id='conv_1', param='conversation')]
    """
    found: list[Ref] = []
    todo: list[tuple[str, Field, Any]] = [("", named, value)]
    while todo:
        name, here, item = todo.pop()
        if isinstance(item, list):
            todo += [(name, here, member) for member in reversed(item)]
        elif isinstance(item, Repeated):  # parsers differ in which value they take
            todo += [(name, here, dict(item)), *((name, here, {key: member}) for key, member in item.pairs)]
        elif isinstance(item, Mapping) and _is_read(here, item):
            if here.item or here.source:
                found += _of_itself(name, here, item)
            known = [(key, _member(here, key), member) for key, member in item.items()]
            for key, field, member in known:
                if field.kind is not None:
                    found += _named(field, key, member)
            todo += [
                (key.strip().lower(), field, member)
                for key, field, member in reversed(known)
                if field is not NOTHING and isinstance(member, CONTAINERS)
            ]
    return found


def _is_read(here: Field, item: Mapping[str, Any]) -> bool:
    """Tell whether an object is one of the API's: some places hold the user's own as well."""
    return here.typed is None or str(item.get("type")).startswith(here.typed)


def _member(here: Field, key: str) -> Field:
    """Give the field of a member; of one that is not known NOTHING, or what is looked for at any depth."""
    known = here.members.get(key.strip().lower())
    if not here.deep:
        return known or here.others or NOTHING
    if known is NOTHING:
        return NOTHING
    return replace(known, members=here.members, deep=True) if known else _without_own(here)


def _without_own(here: Field) -> Field:
    return (
        replace(here, kind=None, item=False, source=False) if here.kind or here.item or here.source else here
    )


def _of_itself(name: str, here: Field, value: Mapping[str, Any]) -> Iterator[Ref]:
    """Give what an object refers to by its ``type`` and ``id``."""
    type_, id_ = value.get("type"), value.get("id")
    if not isinstance(id_, str) or not id_:
        if here.source and type_ in SELECTIONS:
            yield Ref(kinds.SELECTION, str(type_), name)
    elif here.source and type_ == "file_id":
        yield Ref(kinds.FILE, id_, "id")
    elif here.item and _only_refers(value):
        yield Ref(kinds.ITEM, id_, name)


def _named(here: Field, key: str, member: Any) -> Iterator[Ref]:
    assert here.kind is not None
    for one in member if isinstance(member, list) else [member]:
        id_ = one.get("id") if isinstance(one, Mapping) else one if here.text else None
        if not isinstance(id_, str) or not id_ or id_.lower() in WORDS:
            continue
        if here.kind != kinds.MODEL or is_fine_tuned(id_):
            yield Ref(here.kind, id_, key)


def _only_refers(item: Mapping[str, Any]) -> bool:
    """Tell whether an element of an input has nothing to say itself, so that upstream looks it up."""
    type_ = item.get("type")
    if type_ == "reasoning":
        return not (item.get("encrypted_content") or item.get("content"))
    if type_ == "image_generation_call":
        return not item.get("result")
    if type_ in (None, "item_reference"):
        return not item.get("role")
    return not any(value for key, value in item.items() if key not in ("id", "type", "status"))


def in_form(form: Form, named: Field) -> References:
    """Give the objects that the fields of a form refer to."""
    found: list[Ref] = []
    for field in form.fields:
        if field.text is not None and field.filename is None:
            found += referenced_ids(_nested(field.name, field.text), named)
    return References(tuple(dict.fromkeys(found)), form.problem)


def _nested(name: str, text: str) -> Any:
    """Give a form's field as the JSON that it stands for.

    >>> _nested("video[id]", "video_1")
    {'video': {'id': 'video_1'}}
    """
    value: Any = text
    if text[:1] in ("{", "[") and name not in SPOKEN:
        try:
            value = json.loads(text, object_pairs_hook=object_of)
        except (ValueError, RecursionError):
            value = text
    for part in reversed([part.rstrip("]") for part in name.split("[")]):
        value = {part: value} if part and not part.isdecimal() else [value]
    return value

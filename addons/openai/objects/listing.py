"""Lists of objects without those of others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from addons.openai.objects import kinds
from addons.openai.objects.kinds import Place, is_fine_tuned, place_of
from addons.openai.values import Json, name, objects


def listed(method: str, path: str) -> Place | None:
    """The collection that a request asks for all objects of; None where it asks for something else."""
    place = place_of(path) if method.upper() == "GET" else None
    return place if place is not None and place.id is None and not place.below else None


def owned_ids(kind: str, answer: Any) -> list[str] | None:
    """The ids in a list of which each has an owner; None where the answer is no list.

    >>> owned_ids("model", {"data": [{"id": "gpt-4o"}, {"id": "ft:gpt-4o:acme::1"}]})
    ['ft:gpt-4o:acme::1']
    """
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, list):
        return None
    ids = [id_ for one in objects(data) if (id_ := name(one.get("id")))]
    return [id_ for id_ in ids if kind != kinds.MODEL or is_fine_tuned(id_)]


def without(kind: str, answer: Mapping[str, Any], mine: Collection[str]) -> Json:
    """The list with nothing but what is everybody's or one of `mine`.

    `has_more` and `last_id`, from which the next page is asked for, stay as they are: the id of another's
    object is good for nothing else.
    """
    kept = []
    for one in answer.get("data", []):
        id_ = name(one.get("id")) if isinstance(one, dict) else None
        shared = kind == kinds.MODEL and not is_fine_tuned(id_ or "")
        if shared or id_ in mine:
            kept.append(one)
    result = {**answer, "data": kept}
    if "first_id" in result:
        result["first_id"] = kept[0].get("id") if kept else None
    if "last_id" in result and not answer.get("has_more"):
        result["last_id"] = kept[-1].get("id") if kept else None
    return result

"""Take the objects of others out of lists."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from addons.openai.http.values import Json, name, objects
from addons.openai.objects import kinds
from addons.openai.objects.kinds import Place, is_fine_tuned, place_of

WIDENED = frozenset(
    {
        *(kinds.BATCH, kinds.ASSISTANT, kinds.VECTOR_STORE, kinds.CONTAINER),
        *(kinds.VIDEO, kinds.SKILL, kinds.CHATKIT_THREAD),
    }
)
"""Kinds whose lists have pages of 20 unless told otherwise, and of 100 at most (by the API reference)."""
DEFAULT_PAGE, LARGEST_PAGE = 20, 100


def listed(method: str, path: str) -> Place | None:
    """Give the collection that a request asks for all objects of; None where it asks for something else."""
    place = place_of(path) if method.upper() == "GET" else None
    return place if place is not None and place.id is None and not place.below else None


def owned_ids(kind: str, answer: Any) -> list[str] | None:
    """Give the ids in a list of which each has an owner; None where the answer is no list.

    >>> owned_ids("model", {"data": [{"id": "gpt-4o"}, {"id": "ft:gpt-4o:acme::1"}]})
    ['ft:gpt-4o:acme::1']
    """
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, list):
        return None
    ids = [id_ for one in objects(data) if (id_ := name(one.get("id")))]
    return [id_ for id_ in ids if kind != kinds.MODEL or is_fine_tuned(id_)]


def widened(kind: str, query: str) -> tuple[str, int] | None:
    """Give the query for a page as large as the API gives, and how many objects were asked for.

    Of a small page little may be left. None where the largest page is not known, or is asked for.

    >>> widened("batch", "limit=5&after=batch_1")
    ('limit=100&after=batch_1', 5)
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    asked = [value for key, value in pairs if key == "limit"]
    if kind not in WIDENED or any(key == "before" for key, _ in pairs) or len(asked) > 1:
        return None
    limit = asked[0] if asked else str(DEFAULT_PAGE)
    if not limit.isdecimal() or not 1 <= int(limit) < LARGEST_PAGE:
        return None
    if not asked:
        pairs.append(("limit", ""))
    return urlencode([(key, LARGEST_PAGE if key == "limit" else value) for key, value in pairs]), int(limit)


def next_query(query: str, answer: Mapping[str, Any]) -> str | None:
    """Give the query for the page behind one of which nothing is left; None where that was the last one."""
    last = name(answer.get("last_id"))
    if last is None:
        data = objects(answer.get("data"))
        last = name(data[-1].get("id")) if data else None
    if answer.get("has_more") is not True or last is None:
        return None
    pairs = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key != "after"]
    if any(key == "before" for key, _ in pairs):
        return None
    return urlencode([*pairs, ("after", last)])


def without(kind: str, answer: Mapping[str, Any], mine: Collection[str], most: int | None = None) -> Json:
    """Give the list with nothing but what is everybody's or one of `mine`, and of that at most so many.

    Where more is to come `last_id`, from which the next page is asked for, is the last one that is shown, or,
    if that was all of this page, stays as it is: the id of another's object is good for nothing else.
    """
    kept = []
    for one in answer.get("data", []):
        id_ = name(one.get("id")) if isinstance(one, dict) else None
        shared = kind == kinds.MODEL and not is_fine_tuned(id_ or "")
        if shared or id_ in mine:
            kept.append(one)
    cut = most is not None and len(kept) > most
    if cut:
        kept = kept[:most]
    result = {**answer, "data": kept}
    if cut:
        result["has_more"] = True
    if "first_id" in result:
        result["first_id"] = kept[0].get("id") if kept else None
    if "last_id" in result and (cut or not answer.get("has_more")):
        result["last_id"] = kept[-1].get("id") if kept else None
    return result

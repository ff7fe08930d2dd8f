"""Tell a call's own usage from that of an object that any number of calls may show again.

The usage of a background response or of a run comes when it is over, to whoever looks then; that of a stored
answer was told when it was made. Each is to be counted once (see :mod:`store.objects.table`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.http.values import name
from addons.openai.objects import kinds
from addons.openai.objects.kinds import Ref, place_of

DEFERRED = frozenset({kinds.RESPONSE, kinds.RUN, kinds.BATCH, kinds.TURN, kinds.LIVE_SESSION})
"""Kinds whose usage may come later; that of the others was told when they were made."""
COUNTED_ON_SIGHT = frozenset({kinds.TURN, kinds.LIVE_SESSION})
"""Kinds that nobody asks for by themselves: whoever sees the end of one first counts it."""
ENDED = frozenset({"completed", "incomplete", "failed", "cancelled", "expired"})
STARTED = frozenset({"queued", "in_progress"})
STEP = "thread.run.step"


def shown_object(method: str, path: str, request: Any, answer: Any) -> Ref | None:
    """Give the object whose usage an answer shows, if it shows any; None where that is the call's own.

    >>> shown_object("GET", "/v1/responses/resp_1", None, {"id": "resp_1", "object": "response"})
    Ref(kind='response', id='resp_1', param=None)
    """
    place = place_of(path)
    if place is None:
        return None
    whole = answer if isinstance(answer, Mapping) else {}
    id_ = name(whole.get("id"))
    if place.kind == kinds.THREAD and place.below[:1] == ("runs",):
        is_step = "steps" in place.below
        return Ref(STEP if is_step else kinds.RUN, id_) if id_ else None
    if place.kind == kinds.AGENT_SESSION:
        turn = whole.get("object") == kinds.TURN
        return Ref(kinds.TURN if turn else kinds.AGENT_SESSION, id_) if id_ else None
    if place.kind == kinds.LIVE_SESSION:
        # Others may listen to a session; its own connection counts what it has used even where it breaks off.
        seen_by_others = place.id is not None or is_over(answer)
        return Ref(kinds.LIVE_SESSION, id_) if id_ and seen_by_others else None
    if place.id is not None:
        return None if place.kind == kinds.MODEL else Ref(place.kind, place.id)
    if place.kind == kinds.RESPONSE and not place.below and method.upper() == "POST" and id_:
        asked = isinstance(request, Mapping) and request.get("background") is True
        return Ref(kinds.RESPONSE, id_) if asked or whole.get("background") is True else None
    return None


def is_over(answer: Any) -> bool:
    """Tell whether a response or run has come to its end, so that its usage will not change."""
    return isinstance(answer, Mapping) and name(answer.get("status")) in ENDED


def is_queued(method: str, path: str, answer: Any) -> bool:
    """Tell whether a call has only started something that goes on without it."""
    place = place_of(path)
    asks = method.upper() == "POST" and place is not None and place.below[-1:] not in (("cancel",),)
    return asks and isinstance(answer, Mapping) and name(answer.get("status")) in STARTED

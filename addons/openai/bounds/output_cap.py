"""Hold the longest answer that a request allows against a cap, and write the cap in where none is said.

As in :mod:`addons.openai.usage.include_usage` the body is never written anew: all its bytes stay, in
their order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from addons.openai.counting import rules
from addons.openai.endpoint import Endpoint, ModelIn
from addons.openai.http.members import BOM, Insertion, Member, inserted, insertion, last, members
from addons.openai.realtime.client_events import ASKS, as_object, unclear

UNREADABLE = "the body is no JSON object in UTF-8, so its longest answer cannot be told"


@dataclass(frozen=True, slots=True)
class Capped:
    """Holds a request held against a cap; all None where it may go on as it is."""

    insertion: Insertion | None = None
    """It is what writes the cap into it."""
    added: tuple[str, int] | None = None
    """The member that this adds."""
    body: bytes | None = None
    """An event with the cap in it."""
    problem: str | None = None
    """It says why it may not pass."""
    param: str | None = None
    """It is what of it is the problem."""


def is_capped(endpoint: Endpoint) -> bool:
    """Tell whether a request can say how long its answer may be.

    The handshake of a WebSocket cannot: each event on it is held against the cap (:func:`cap_event`).
    """
    says = bool(endpoint.output.members) and not endpoint.model_in & (ModelIn.ELSEWHERE | ModelIn.FRAMES)
    return bool(endpoint.bills) and says


def cap(
    text: str, found: list[Member], endpoint: Endpoint, model: str | None, most: int, *, offset: int = 0
) -> Capped:
    """Hold a body's members against `most` tokens of output in all its choices together.

    `text` is the JSON object whose members they are, and stands behind `offset` bytes of the body.

    >>> from addons.openai.endpoints import resolve
    >>> chat, text = resolve("POST", "/v1/chat/completions"), '{"model":"gpt-5","messages":[]}'
    >>> cap(text, members(text), chat, "gpt-5", 500).insertion
    Insertion(at=30, data=b',"max_completion_tokens":500')
    >>> cap("", members('{"max_tokens": 1000}'), chat, "gpt-4o", 500).param
    'max_tokens'
    """
    fields = endpoint.output.members
    count = endpoint.output.choices({member.key: member.value for member in found})
    if count > most:
        return Capped(problem=f"{count} choices are more than {most} tokens of output", param="n")
    each = most // count
    if (larger := _larger(found, fields, each)) is not None:
        return larger
    if any(_says(found, name) for name in fields):
        return Capped()
    if endpoint.output.default is not None and each >= endpoint.output.default:
        return Capped()  # what it gets without asking is less
    name = _field(endpoint, model)
    added = f'{"," if found else ""}"{name}":{each}'
    return Capped(insertion(text, text.rindex("}"), added, offset=offset), (name, each))


def cap_bytes(body: bytes, endpoint: Endpoint, model: str | None, most: int) -> Capped:
    """Give the same for a whole body, decoded. Never raises."""
    offset = len(BOM) if body.startswith(BOM) else 0
    try:
        text = body[offset:].decode("utf-8")
        found = members(text)
    except (ValueError, RecursionError):
        return Capped(problem=UNREADABLE)
    capped = cap(text, found, endpoint, model, most, offset=offset)
    return Capped(body=inserted(body, [capped.insertion])) if capped.insertion else capped


def _larger(found: Sequence[Member], fields: Sequence[str], each: int) -> Capped | None:
    """Give the first limit beyond the cap. Of equal keys all count, and in any case: parsers differ."""
    for member in found:
        name = member.key.strip().lower()
        if name not in fields or member.value is None:
            continue
        if isinstance(member.value, bool) or not isinstance(member.value, int):
            return Capped(problem=f"{name} is no whole number", param=name)
        if member.value > each:
            return Capped(problem=f"{name} {member.value} is more than {each}", param=name)
    return None


def _says(found: list[Member], name: str) -> bool:
    member = last(found, name)
    return member is not None and member.value is not None


def _field(endpoint: Endpoint, model: str | None) -> str:
    """Name the member that the model takes: those that reason refuse the older, which other servers want."""
    current, *older = endpoint.output.members
    return older[-1] if older and not rules.of(model).reasons else current


def cap_event(data: bytes, most: int, endpoint: Endpoint) -> Capped:
    """Give the same for an event of a session's client.

    >>> from addons.openai.endpoints import resolve
    >>> realtime = resolve("GET", "/v1/realtime", upgrade=True)
    >>> cap_event(b'{"type":"response.create"}', 50, realtime).body
    b'{"type":"response.create","response":{"max_output_tokens":50}}'
    """
    if why := unclear(data):
        return Capped(problem=f"the event cannot be read: {why}")
    event = as_object(data)
    if endpoint.sequential:
        return cap_bytes(data, endpoint, None, most) if event.get("type") == ASKS else Capped()
    for place in ("response", "session"):
        said = event.get(place)
        for name in ("max_output_tokens", "max_response_output_tokens"):
            asked = said.get(name) if isinstance(said, dict) else None
            if asked is None:
                continue
            if isinstance(asked, bool) or not isinstance(asked, int) or asked > most:
                return Capped(
                    problem=f"{name} {str(asked)[:40]} is more than {most}", param=f"{place}.{name}"
                )
    if event.get("type") != ASKS:
        return Capped()
    response = event.get("response") or {}
    if not isinstance(response, dict) or response.get("max_output_tokens") is not None:
        return Capped()
    response = {**response, "max_output_tokens": most}
    return Capped(body=json.dumps({**event, "response": response}, separators=(",", ":")).encode())

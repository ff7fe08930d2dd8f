"""The longest answer that a request allows: held against a cap, and written into it where it says nothing.

As in :mod:`addons.openai.include_usage` the body is never written anew: all its bytes stay, in their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from addons.openai.client_events import ASKS, as_object, unclear
from addons.openai.counting import rules
from addons.openai.endpoints import Endpoint, ModelIn, resolve
from addons.openai.include_usage import BOM
from addons.openai.members import Member, last, members
from addons.openai.most import DEFAULT_COMPLETION, choices

FIELDS: Mapping[str, Sequence[str]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
    "assistants": ("max_completion_tokens",),
}
"""What limits the output, by endpoint."""
RESPONSES = resolve("POST", "/v1/responses")


@dataclass(frozen=True, slots=True)
class Capped:
    """A request held against a cap; both None where it may go on as it is."""

    body: bytes | None = None
    """With the cap in it."""
    problem: str | None = None
    """Why it may not pass."""
    param: str | None = None
    """What of it is the problem."""


def is_capped(endpoint: Endpoint, path: str) -> bool:
    """Whether a request to this path can say how long its answer may be."""
    has_field = endpoint.name in FIELDS and ModelIn.ELSEWHERE not in endpoint.model_in
    return bool(endpoint.bills) and has_field and not path.rstrip("/").endswith("/compact")


def cap(body: bytes, endpoint: Endpoint, model: str | None, most: int) -> Capped:
    """Hold `body`, decoded, against `most` tokens of output in all its choices together. Never raises.

    >>> from addons.openai.endpoints import resolve
    >>> chat = resolve("POST", "/v1/chat/completions")
    >>> cap(b'{"model":"gpt-5","messages":[]}', chat, "gpt-5", 500).body
    b'{"model":"gpt-5","messages":[],"max_completion_tokens":500}'
    >>> cap(b'{"max_tokens": 1000}', chat, "gpt-4o", 500).param
    'max_tokens'
    """
    fields = FIELDS[endpoint.name]
    start = len(BOM) if body.startswith(BOM) else 0
    try:
        text = body[start:].decode("utf-8")
        found = members(text)
    except (ValueError, RecursionError):
        return Capped(problem="the body is no JSON object in UTF-8, so its longest answer cannot be told")
    count = choices(endpoint.name, {member.key: member.value for member in found})
    if count > most:
        return Capped(problem=f"{count} choices are more than {most} tokens of output", param="n")
    each = most // count
    if (larger := _larger(found, fields, each)) is not None:
        return larger
    if any(_says(found, name) for name in fields):
        return Capped()
    if endpoint.name == "completions" and each >= DEFAULT_COMPLETION:
        return Capped()  # what it gets without asking is less
    added = f'{"," if found else ""}"{_field(endpoint.name, model)}":{each}'
    at = text.rindex("}")
    cut = start + (at if text.isascii() else len(text[:at].encode()))
    return Capped(body[:cut] + added.encode() + body[cut:])


def _larger(found: Sequence[Member], fields: Sequence[str], each: int) -> Capped | None:
    """The first limit beyond the cap. Of equal keys all count, and in any case: parsers differ."""
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


def _field(endpoint: str, model: str | None) -> str:
    """That the model takes: those that reason refuse `max_tokens`, which servers of older models want."""
    if endpoint == "chat" and not rules.of(model).reasons:
        return "max_tokens"
    return FIELDS[endpoint][0]


def cap_event(data: bytes, most: int, *, sequential: bool) -> Capped:
    """The same for an event of a session's client. `sequential`: of Responses, not of Realtime.

    >>> cap_event(b'{"type":"response.create"}', 50, sequential=False).body
    b'{"type":"response.create","response":{"max_output_tokens":50}}'
    """
    if why := unclear(data):
        return Capped(problem=f"the event cannot be read: {why}")
    event = as_object(data)
    if sequential:
        return cap(data, RESPONSES, None, most) if event.get("type") == ASKS else Capped()
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
    return Capped(json.dumps({**event, "response": response}, separators=(",", ":")).encode())

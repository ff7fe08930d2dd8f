"""Say what a case of the cache is: requests in a row, and what the cache has for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHATS, MODELS, RESPONSES = "/v1/chat/completions", "/v1/models", "/v1/responses"
HELLO = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
ASKS = "public, max-age=600"
LIST = {"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model"}]}
PUBLIC = {"cache-control": "public, max-age=60"}
TAGGED = {**PUBLIC, "etag": '"v1"'}
DATED = {**PUBLIC, "last-modified": "Sun, 06 Nov 1994 08:49:37 GMT"}
RESPONSE_ASKED = {"model": "gpt-4o-mini", "input": "a", "store": False}

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Ask:
    """A request; what it changes of the one before it in the row."""

    headers: Headers = field(default_factory=dict)
    body: Any = None
    """JSON, or bytes as they are."""
    query: str = ""
    token: int = 0
    """0: the usual one; 1: another of its project; 2: one of another project."""
    method: str = ""


@dataclass(frozen=True)
class Case:
    """What is asked, what upstream says to it, and what comes of each request."""

    name: str
    expected: str
    """A word for each: stored, hit, miss (not kept), bypass, none (nothing to do with the cache),
    revalidated, 304 (the client has it), or not-cached (504)."""
    asks: tuple[Ask, ...] = (Ask(), Ask())
    answer: Headers = field(default_factory=dict)
    """Headers of upstream's answer."""
    status: int = 200
    value: Any = None
    """Of upstream's answer, as JSON or bytes."""
    proxy: str = "asks"
    path: str = CHATS
    control: str | None = ASKS
    """`Cache-Control` of each request that has none of its own."""
    body: Any = None


def of(*headers: Headers) -> tuple[Ask, ...]:
    return tuple(Ask(one) for one in headers)


def control(*values: str) -> tuple[Ask, ...]:
    return tuple(Ask({"cache-control": value}) for value in values)


def bodies(*values: Any) -> tuple[Ask, ...]:
    return tuple(Ask(body=value) for value in values)


def lists(name: str, expected: str, asks: tuple[Ask, ...] = (Ask(), Ask()), **rest: Any) -> Case:
    """A case of the list of models, which needs not be asked for."""
    given = {"path": MODELS, "control": None, "value": LIST, "answer": PUBLIC, **rest}
    return Case(name, expected, asks, **given)


def kept(name: str, expected: str, asks: tuple[Ask, ...] = (Ask(), Ask()), **rest: Any) -> Case:
    return Case(name, expected, asks, proxy="keeps", control=None, **rest)

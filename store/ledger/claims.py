"""What goes into the ledger and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from store.models import Grant
from store.rollups import Line

Side = Literal["token", "project"]
"""Whose limit it is."""


def unit_of(limit: str) -> str:
    """What a limit counts: usd, tokens, requests or calls (that are under way)."""
    if limit == "max_concurrent":
        return "calls"
    if limit in ("max_requests", "requests_per_minute"):
        return "requests"
    return "usd" if limit.startswith("usd/") else "tokens"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a call claims before it may pass."""

    call_id: str
    grant: Grant
    """As the look-up has it: its limits are those that are checked."""
    tokens: int = 0
    """That it may come to use; held of budgets, and counted in the rate until the true number is known."""
    nano_usd: int = 0
    requests: int = 1
    """0 for what takes a place among the concurrent calls without being a request: a session."""


@dataclass(frozen=True, slots=True)
class Hit:
    """The limit that stands against a claim. Where it is several: the one that lasts longest."""

    limit: str
    """A name of :class:`store.limits.Limits`, or of a budget: ``usd/day``."""
    side: Side
    allowed: int
    """Nano-USD where :attr:`unit` is usd; top-ups are in it."""
    used: int
    """What is settled and what is held."""
    asked: int
    """What the claim wanted of it."""
    resets_at: int | None = None
    """When the period of a budget ends (seconds since 1970); None where none does."""
    retry_after: float | None = None
    """Seconds after which a rate has room again; None where trying again does not help."""

    @property
    def is_rate(self) -> bool:
        """Whether it passes by itself within a minute; else it is a budget or a quota that is used up."""
        return self.limit in ("requests_per_minute", "tokens_per_minute", "max_concurrent")

    @property
    def unit(self) -> str:
        """usd, tokens, requests or calls."""
        return unit_of(self.limit)


@dataclass(frozen=True, slots=True)
class Room:
    """What a rate has left."""

    limit: int
    remaining: int
    resets_in: float
    """Seconds until all of it is free again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The rates with the least room, for ``x-ratelimit-*``; None where there is no such limit."""

    requests: Room | None = None
    tokens: Room | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """To a claim. It is granted if there is no hit."""

    hit: Hit | None = None
    standing: Standing = Standing()


@dataclass(frozen=True, slots=True)
class Finished:
    """A call that is over, as its event tells it."""

    call_id: str
    token_id: str
    project_id: str
    at: float
    """When it began, in seconds since 1970. (If it was reserved, its spend counts for the hour of that.)"""
    outcome: str
    """Of the event. `refused` only releases what was held."""
    endpoint: str
    seq: int = 0
    """Number of its event, which makes sure that it is counted once; 0 where it has none (it was dropped)."""
    model: str | None = None
    user_id: str | None = None
    address: str | None = None
    """Of the client."""
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    """What budgets and rates count. 0 where nothing is billed (an error of the API, an upstream that was
    never reached); None where it is unknown: then it is what was held."""
    nano_usd: int | None = None
    """The same of money, rounded up."""
    at_least: bool = False
    """Whether more may be billed than these figures say."""
    line: Line | None = None
    """What it adds to the roll-ups; None for what is no call of its own."""
    request: bool = True
    """False for what was no request of its own: a whole session, whose answers are counted each."""
    asked_by: str | None = None
    """The token that made the call, where what it tells of is another's (`usage_of` of the event)."""
    corrects: str | None = None
    """The call that began what this one tells the usage of; it was charged with what was held for it."""

"""Define what goes into the ledger and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass

from store.database.engine import Row
from store.tokens.limits import RATES, limit_named
from store.tokens.models import Grant
from store.tokens.subjects import Side
from store.usage.rollups import Line


def unit_of(limit: str) -> str:
    """Give what a limit counts: usd, tokens, requests or calls (that are under way)."""
    return limit_named(limit).unit(limit)


@dataclass(frozen=True, slots=True)
class ReservationRequest:
    """Says what a call claims before it may pass."""

    call_id: str
    grant: Grant
    """As the look-up has it: its limits are those that are checked."""
    tokens: int = 0
    """That it may come to use; held of budgets, and counted in the rate until the true number is known."""
    nano_usd: int = 0
    requests: int = 1
    """0 for what takes a place among the concurrent calls without being a request: a session."""

    @property
    def ids(self) -> dict[str, str]:
        """Give what it counts for, by the columns of holds (:mod:`store.tokens.subjects`)."""
        return self.grant.ids

    most_tokens: int = 0
    """That it can use at most: what is charged where its use does not become known; 0: no bound."""
    most_nano_usd: int = 0


@dataclass(frozen=True, slots=True)
class LimitExceeded:
    """Names the limit that stands against a claim. Where it is several: the one that lasts longest."""

    limit: str
    """A name of :class:`store.tokens.limits.Limits`, or of a budget: ``usd/day``."""
    side: Side
    """It says whose limit it is."""
    allowed: int
    """Nano-USD where :attr:`unit` is usd; top-ups are in it."""
    used: int
    """It is what is settled and what is held."""
    asked: int
    """It is what the claim wanted of it."""
    resets_at: int | None = None
    """It says when the period of a budget ends (seconds since 1970); None where none does."""
    starts_at: int = 0
    """It says when that period began."""
    retry_after: float | None = None
    """Seconds after which a rate has room again; None where trying again does not help."""
    subject: str = ""
    """It says whose it is: an id (:mod:`store.tokens.subjects`)."""

    @property
    def is_rate(self) -> bool:
        """Tell whether it passes by itself within a minute; else it is a budget or quota that is used up."""
        return limit_named(self.limit).window in RATES

    @property
    def unit(self) -> str:
        """Give what is counted: usd, tokens, requests or calls."""
        return unit_of(self.limit)


@dataclass(frozen=True, slots=True)
class RateWindow:
    """Says what a rate has left."""

    limit: int
    remaining: int
    resets_in: float
    """Seconds until all of it is free again."""


@dataclass(frozen=True, slots=True)
class RateStatus:
    """Holds the rates with the least room, for ``x-ratelimit-*``; None where there is no such limit."""

    requests: RateWindow | None = None
    tokens: RateWindow | None = None


@dataclass(frozen=True, slots=True)
class ReservationDecision:
    """Answers a claim. It is granted if there is no hit."""

    hit: LimitExceeded | None = None
    standing: RateStatus = RateStatus()


@dataclass(frozen=True, slots=True)
class Finished:
    """Describes a call that is over, as its event tells it."""

    call_id: str
    token_id: str
    project_id: str
    at: float
    """It says when it began, in seconds since 1970. (If it was reserved, its spend counts for the hour of
    that.)"""
    outcome: str
    """It is that of the event. `refused` only releases what was held."""
    endpoint: str
    seq: int = 0
    """Number of its event, which makes sure that it is counted once; 0 where it has none (it was dropped)."""
    model: str | None = None
    user_id: str | None = None
    session: str | None = None
    """It is that of an agent, as the client names it."""
    address: str | None = None
    """It is that of the client."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    """It is what budgets and rates count. 0 where nothing is billed (an error of the API, an upstream that
    was never reached); None where it is unknown: then it is what was held."""
    nano_usd: int | None = None
    """It is the same of money, rounded up."""
    at_least: bool = False
    """It tells whether more may be billed than these figures say."""
    incomplete: bool = False
    """It tells whether that is because its usage did not come whole."""
    line: Line | None = None
    """It is what it adds to the roll-ups; None for what is no call of its own."""
    recent: Row | None = None
    """Its row among the latest calls; None where those are not kept, and for what is no call of its own."""
    never_sent: bool = False
    """It tells whether its proxy was killed before the request went out: what was held is given back, all of
    it."""
    request: bool = True
    """False for what was no request of its own: a whole session, whose answers are counted each."""
    cache_hits: int = 0
    """1 where it was answered from the cache."""
    asked_by: str | None = None
    """The token that made the call, where what it tells of is another's (`usage_of` of the event)."""
    corrects: str | None = None
    """The call that began what this one tells the usage of; it was charged with what was held for it."""

    @property
    def ids(self) -> dict[str, str]:
        """Give what it is known to count for, by the columns of holds; its hold has the claims besides."""
        return {"token_id": self.token_id, "project_id": self.project_id}

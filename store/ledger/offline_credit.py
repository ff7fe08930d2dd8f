"""Hold some of the limits in advance, so that calls go on for a while when the store is away.

A spare is a hold like any other, for some calls of a token that is in use: so what is lent out of it is
within the budgets, whatever other processes do meanwhile. There is none for tokens with rates, a number of
calls at a time, or a number of requests of their own: what is kept of those would be taken from others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import floor

from uuid_utils import uuid7

from store.database.engine import Connection
from store.ledger import settle
from store.ledger.messages import ReservationRequest
from store.ledger.reservations import LEASE_SECONDS, ReservationBatch, hold_row
from store.tokens.calendar import HOUR
from store.tokens.limits import RATES
from store.tokens.models import Grant

CALLS = 5
"""That a spare is for."""
ROOM = 20
"""So many times a spare has to be left of each budget: near its end nothing is kept back."""
IDLE_SECONDS = 60.0
MARGIN_SECONDS = 5.0
"""Before the lease is over, by the clocks of others."""


@dataclass(slots=True)
class Spare:
    """Holds what is kept for one token."""

    ask: ReservationRequest
    """As it is in the store."""
    taken_at: float
    """Seconds since 1970; 0 for one that may be gone."""
    used: float
    """It says when a call of the token was last granted; monotonic."""
    lent: list[ReservationRequest] = field(default_factory=list)
    """It is what the store does not know yet."""

    @property
    def left(self) -> ReservationRequest:
        return replace(
            self.ask,
            requests=self.ask.requests - sum(ask.requests for ask in self.lent),
            tokens=self.ask.tokens - sum(ask.tokens for ask in self.lent),
            nano_usd=self.ask.nano_usd - sum(ask.nano_usd for ask in self.lent),
        )

    def suffices(self, ask: ReservationRequest, now: float) -> bool:
        """Tell whether what is left is enough. In another hour it may be held of periods that are over."""
        left = self.left
        enough = left.requests >= ask.requests and left.tokens >= ask.tokens and left.nano_usd >= ask.nano_usd
        return enough and floor(now) // HOUR == floor(self.taken_at) // HOUR


class OfflineCredit:
    """Works in the ledger's thread. `seconds`: how long calls are lent from it; 0 for none at all."""

    def __init__(self, process: str, seconds: float, monotonic: Callable[[], float]) -> None:
        self._process, self._seconds, self._monotonic = process, seconds, monotonic
        self._kept: dict[str, Spare] = {}
        """By token."""
        self._new: dict[str, Spare] = {}
        """It is that of the transaction under way."""
        self._leaving: set[str] = set()
        """Tokens whose spares the transaction under way gives back."""
        self._old: dict[str, str] = {}
        """Holds that may still be there, and should not; with their projects."""
        self._renewed = self._reached = monotonic()
        """It says when the holds were renewed, and when the store was there last."""

    def __bool__(self) -> bool:
        return bool(self._kept or self._old)

    @property
    def projects(self) -> set[str]:
        """Give the projects that they are held of."""
        return {spare.ask.grant.project.id for spare in self._kept.values()} | set(self._old.values())

    # Within a transaction

    def begin(self, connection: Connection, now: float) -> None:
        """Give calls that were lent holds of their own, before anything else is decided."""
        if not self:
            return
        lent = [(ask, spare) for spare in self._kept.values() for ask in spare.lent]
        # A claim that failed may have been committed all the same: a server can be lost while it answers.
        settle.release(connection, now, call_ids=[*self._old, *(ask.call_id for ask, _ in lent)])
        connection.insert("holds", [hold_row(ask, self._process, spare.taken_at, now) for ask, spare in lent])
        for spare in self._kept.values():
            if spare.lent:
                left = spare.left
                connection.run(
                    "UPDATE holds SET requests = :requests, tokens = :tokens, nano_usd = :nano_usd "
                    "WHERE call_id = :id",
                    requests=left.requests,
                    tokens=left.tokens,
                    nano_usd=left.nano_usd,
                    id=left.call_id,
                )

    def keep(self, book: ReservationBatch, ask: ReservationRequest) -> None:
        """Keep enough for some more calls like `ask`, which was granted, if there is much left."""
        token_id = ask.grant.token.id
        if not self._seconds or not _is_eligible(ask.grant):
            return
        spare = self._new.get(token_id) or self._kept.get(token_id)
        if spare is not None:
            spare.used = self._monotonic()
            if spare.suffices(ask, book.now):
                return
        wanted = ReservationRequest(
            str(uuid7()), ask.grant, ask.tokens * CALLS, ask.nano_usd * CALLS, requests=CALLS
        )
        much = replace(wanted, tokens=wanted.tokens * ROOM, nano_usd=wanted.nano_usd * ROOM)
        if book.reserve(much, take=False).hit is None:
            book.reserve(wanted)
            self._new[token_id] = Spare(wanted, book.now, self._monotonic())

    def give_back(self, book: ReservationBatch, grant: Grant) -> bool:
        """Free what was kept of a budget that does not allow a call; tell whether there was anything."""
        mine = {id_ for id_, spare in self._kept.items() if spare.ask.grant.project.id == grant.project.id}
        mine -= self._leaving
        if mine:
            self._leaving |= mine
            book.flush()
            settle.release(book.connection, book.now, call_ids=self._ids())
            book.read_again()
        return bool(mine)

    def end(self, connection: Connection, now: float) -> None:
        """Give back what is replaced, or not in use any more; the last thing in a transaction."""
        for token_id, spare in self._kept.items():
            if token_id in self._new or self._monotonic() - spare.used > IDLE_SECONDS:
                self._leaving.add(token_id)
        if self._leaving or self._old:
            settle.release(connection, now, call_ids=self._ids())

    def drop(self) -> None:
        """Have the next transaction give all of them back."""
        self._leaving = set(self._kept)

    # Behind it

    def committed(self, *, renewed: bool) -> None:
        for spare in self._kept.values():
            spare.ask, spare.lent = spare.left, []
        kept = {id_: spare for id_, spare in self._kept.items() if id_ not in self._leaving}
        self._kept, self._new = kept | self._new, {}
        self._leaving, self._old = set(), {}
        self._reached = self._monotonic()
        if renewed:
            self._renewed = self._reached

    def undone(self) -> None:
        """Lend nothing from what may not be held any more.

        The transaction was undone; or it was committed, and only that was lost.
        """
        for spare in self._new.values():
            self._old[spare.ask.call_id] = spare.ask.grant.project.id
        for token_id in self._leaving:
            spare = self._kept[token_id]
            spare.taken_at = 0.0
        self._new, self._leaving = {}, set()

    def lend(self, ask: ReservationRequest, now: float) -> bool:
        """Tell whether a call may go on while the store is away."""
        moment = self._monotonic()
        if moment - self._reached > self._seconds or moment - self._renewed > LEASE_SECONDS - MARGIN_SECONDS:
            return False
        spare = self._kept.get(ask.grant.token.id)
        if spare is None or not _is_eligible(ask.grant) or not spare.suffices(ask, now):
            return False
        spare.lent.append(ask)
        return True

    def _ids(self) -> list[str]:
        return [*self._old, *(self._kept[token_id].ask.call_id for token_id in self._leaving)]


def _is_eligible(grant: Grant) -> bool:
    """Tell whether budgets are all that is counted of it, and the project's requests."""
    if grant.limits_claims:
        return False  # what is kept for a token is no session's
    rated = any(each.counts_over(*RATES) for each in grant.limits)
    return any(each.budgets for each in grant.limits) and grant.token.max_requests is None and not rated

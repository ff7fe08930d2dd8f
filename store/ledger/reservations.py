"""Decide claims one after the other within one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor
from typing import Any

from store.database.engine import Connection, Row
from store.ledger.account import Account, Amounts, account_of, longest, standing
from store.ledger.messages import LimitExceeded, ReservationDecision, ReservationRequest
from store.tokens.calendar import HOUR
from store.tokens.limits import Window
from store.tokens.models import Grant
from store.tokens.subjects import ids_of_row, subjects_of

LEASE_SECONDS = 60
"""It says how long a hold lives without being renewed."""


@dataclass(slots=True)
class ReservationBatch:
    """Holds the accounts that claims are checked against, each read once; `flush` writes what is granted."""

    connection: Connection
    process: str
    now: float
    _accounts: dict[str, Account] = field(default_factory=dict)
    _holds: list[dict[str, Any]] = field(default_factory=list)
    _rates: dict[str, Counter[str]] = field(default_factory=dict)
    _counted: Counter[str] = field(default_factory=Counter)

    def reserve(self, ask: ReservationRequest, *, take: bool = True) -> ReservationDecision:
        """Grant all that `ask` claims, or nothing."""
        found = self._accounts_of(ask.grant, ask.ids)
        amounts = Amounts(ask.requests, ask.tokens, ask.nano_usd, running=1)
        hit = longest([hit for account in found for hit in account.hits(amounts, self.now)])
        if hit is None and take:
            self._take(ask, amounts, found)
        return ReservationDecision(hit, standing(found, self.now))

    def flush(self) -> None:
        """Write what was granted."""
        self.connection.insert("holds", self._holds)
        second = floor(self.now)
        taken = [
            {"subject": subject, "second": second, "requests": more["requests"], "tokens": more["tokens"]}
            for subject, more in self._rates.items()
        ]
        self.connection.add("rates", ["subject", "second"], taken)
        for token_id, requests in self._counted.items():
            self.connection.run(
                "UPDATE tokens SET request_count = request_count + :requests WHERE id = :id",
                requests=requests,
                id=token_id,
            )
        self._holds, self._rates, self._counted = [], {}, Counter()

    def read_again(self) -> None:
        """Forget the accounts: holds were changed behind the book's back, after it was flushed."""
        self._accounts.clear()

    def extend(self, call_id: str, grant: Grant, tokens: int, nano_usd: int) -> LimitExceeded | None:
        """Hold so much in all for a call under way. What it held stays where a budget does not allow it.

        Only budgets are asked: the call has its place in the rates already.
        """
        rows = self.connection.rows("SELECT * FROM holds WHERE call_id = :id AND settled_at = 0", id=call_id)
        if not rows:
            return None
        held = rows[0]
        lapsed = held["expires_at"] <= self.now
        more = Amounts(
            tokens=tokens - (0 if lapsed else held["tokens"]),
            nano_usd=nano_usd - (0 if lapsed else held["nano_usd"]),
        )
        earlier = held["hour"] != floor(self.now) // HOUR
        # What a call holds counts for the periods that it was reserved in, be they over.
        found = self._accounts_of(grant, ids_of_row(held), at=held["taken_at"] if earlier else None)
        budgets = [account.of_window(Window.PERIODS) for account in found]
        if hit := longest([hit for account in budgets for hit in account.hits(more, self.now)]):
            return hit
        for account in budgets:
            for gauge in account.gauges:
                gauge.take(more, floor(self.now))
        if earlier:  # these are other accounts than those that are kept
            self._accounts.clear()
        self._write_extension(call_id, held, tokens, nano_usd)
        return None

    def _accounts_of(self, grant: Grant, ids: Mapping[str, str], *, at: int | None = None) -> list[Account]:
        """Give the accounts of all that a call counts for.

        Each has only one while the transaction lasts.
        """
        found = []
        for subject, id_ in subjects_of(ids):
            account = self._accounts.get(id_) if at is None else None
            if account is None:
                account = account_of(self.connection, subject, id_, grant, self.now, at=at)
                if at is None:
                    self._accounts[id_] = account
            found.append(account)
        return found

    def _take(self, ask: ReservationRequest, amounts: Amounts, found: list[Account]) -> None:
        second = floor(self.now)
        for account in found:
            for gauge in account.gauges:
                gauge.take(amounts, second)
            if account.has_rate:
                taken = self._rates.setdefault(account.subject, Counter(requests=0, tokens=0))
                taken["requests"] += ask.requests
                taken["tokens"] += ask.tokens
        # Such a call is counted now; others when they are over.
        counted = ask.requests if ask.grant.token.max_requests is not None else 0
        if counted:
            self._counted[ask.grant.token.id] += counted
        self._holds.append({**hold_row(ask, self.process, self.now, self.now), "counted": counted})

    def _write_extension(self, call_id: str, held: Row, tokens: int, nano_usd: int) -> None:
        self.connection.run(
            "UPDATE holds SET tokens = :tokens, nano_usd = :nano_usd, expires_at = :expires_at "
            "WHERE call_id = :id",
            tokens=tokens,
            nano_usd=nano_usd,
            expires_at=floor(self.now) + LEASE_SECONDS,
            id=call_id,
        )
        self.connection.run(
            "UPDATE rates SET tokens = tokens + :more WHERE second = :second AND subject IN :subjects",
            more=tokens - held["tokens"],
            second=held["taken_at"],
            subjects=list(ids_of_row(held).values()),
        )


def hold_row(ask: ReservationRequest, process: str, taken_at: float, now: float) -> dict[str, Any]:
    """Give a hold as the store has it."""
    second = floor(taken_at)
    return {
        "call_id": ask.call_id,
        **{column: id_ or None for column, id_ in ask.ids.items()},
        "process": process,
        "taken_at": second,
        "hour": second // HOUR,
        "requests": ask.requests,
        "tokens": ask.tokens,
        "nano_usd": ask.nano_usd,
        "most_tokens": ask.most_tokens,
        "most_nano_usd": ask.most_nano_usd,
        "counted": 0,
        "running": 1,
        "expires_at": floor(now) + LEASE_SECONDS,
        "settled_at": 0,
    }

"""A store with a project, and workers whose clock stands still until it is moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from store.database.engine import Row
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.ledger import Finished, LedgerWorker, ReservationRequest, topups
from store.tokens import amounts, limits
from store.tokens.amounts import NANO
from store.tokens.lookups import lookup_of
from store.tokens.models import Grant
from store.tokens.store import TokenStore
from tests.store.engines import found

NOON = 1_790_000_000.0 // 86400 * 86400 + 43200
"""Of some day."""


@dataclass
class Ledger:
    """What the tests do, in few words."""

    place: StoreLocation
    store: TokenStore
    now: float = NOON
    workers: list[LedgerWorker] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    @property
    def path(self) -> Path:
        assert self.place.path is not None
        return self.place.path

    def worker(self) -> LedgerWorker:
        worker = LedgerWorker(engine_of(self.place), clock=lambda: self.now)
        self.workers.append(worker)
        return worker

    def grant(
        self,
        *,
        project: str = "acme",
        of_project: Any = None,
        max_requests: int | None = None,
        **of_token: Any,
    ) -> Grant:
        if of_project is not None:
            self.store.update_project(project, limits=limits.of(of_project))
        _, text = self.store.create_token(project, max_requests=max_requests, limits=limits.of(of_token))
        return self.again(text.reveal())

    def again(self, text: str) -> Grant:
        lookup = lookup_of(self.place)
        grant = found(lookup, text)
        lookup.close()
        assert grant
        return grant

    def ask(self, grant: Grant, *, tokens: int = 0, usd: float = 0, **rest: Any) -> ReservationRequest:
        return ReservationRequest(f"call-{next(self._numbers)}", grant, tokens, round(usd * NANO), **rest)

    def rows(self, sql: str, **values: Any) -> list[Row]:
        connection = engine_of(self.place).connect()
        try:
            return connection.rows(sql, **values)
        finally:
            connection.close()

    def top_up(self, subject: str, text: str) -> None:
        connection = engine_of(self.place).connect()
        topups.add(connection, subject, amounts.parse_budget(text), at=self.now)
        connection.close()

    def finished(self, ask: ReservationRequest, **known: Any) -> Finished:
        known = {"total_tokens": ask.tokens, "nano_usd": ask.nano_usd, "outcome": "ok"} | known
        return Finished(
            ask.call_id, ask.grant.token.id, ask.grant.project.id, self.now, endpoint="chat", **known
        )


@pytest.fixture
def ledger(place: StoreLocation, store: TokenStore) -> Iterator[Ledger]:
    store.create_project("acme", "sk-live-1234567890")
    ledger = Ledger(place, store)
    yield ledger
    for worker in ledger.workers:
        worker.close()


@pytest.fixture
def worker(ledger: Ledger) -> LedgerWorker:
    return ledger.worker()

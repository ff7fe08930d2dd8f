"""Calls that are over are settled together; nobody is refused, or let pass, because of that."""

from __future__ import annotations

from typing import Any

import pytest

from store.core.errors import StoreUnavailable
from store.ledger import LedgerWorker, settle
from tests.store.ledger.conftest import Ledger

WAIT = 30.0
CALLS = 60


def test_a_claim_that_needs_what_is_over_has_it_settled_first(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 100}})
    used = 0
    for number in range(1, 6):
        ask = ledger.ask(grant, tokens=100 - used)
        assert worker.reserve(ask).result(WAIT).hit is None, (
            f"call {number} was refused for a call that was over"
        )
        worker.finish([ledger.finished(ask, seq=number, total_tokens=10)], "w")
        used += 10
    hit = worker.reserve(ledger.ask(grant, tokens=51)).result(WAIT).hit
    assert hit is not None
    assert (hit.used, hit.allowed) == (50, 100), "what is over is settled in what is said, too"


def test_a_call_that_cost_more_than_it_held_counts_for_the_next_one(
    ledger: Ledger, worker: LedgerWorker
) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 100}})
    ask = ledger.ask(grant, tokens=10)
    assert worker.reserve(ask).result(WAIT).hit is None
    worker.finish([ledger.finished(ask, seq=1, total_tokens=95)], "w")
    assert worker.reserve(ledger.ask(grant, tokens=10)).result(WAIT).hit is not None


def test_what_is_over_shares_transactions(
    ledger: Ledger, worker: LedgerWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[int] = []
    original = settle.settle

    def counting(connection: Any, now: float, **given: Any) -> None:
        settled.append(len(given["calls"]))
        original(connection, now, **given)

    transactions_of_settling: list[int] = []

    def transactions(self: LedgerWorker, claims: Any, notes: Any, **how: Any) -> Any:
        if any("_settle" in str(note.write) for note in notes):
            transactions_of_settling.append(len(notes))
        return transact(self, claims, notes, **how)

    transact = LedgerWorker._transact
    monkeypatch.setattr(LedgerWorker, "_transact", transactions)
    monkeypatch.setattr(settle, "settle", counting)

    grant = ledger.grant(budgets={"tokens": {"day": 10_000}})
    asks = [ledger.ask(grant, tokens=10) for _ in range(CALLS)]
    for ask in asks:
        assert worker.reserve(ask).result(WAIT).hit is None
    notes = [
        worker.finish([ledger.finished(ask, seq=number)], "w") for number, ask in enumerate(asks, start=1)
    ]
    for note in notes:
        note.result(WAIT)
    spent = ledger.rows("SELECT tokens FROM spend WHERE subject = :id AND period = 'day'", id=grant.token.id)
    assert [row["tokens"] for row in spent] == [CALLS * 10]
    assert ledger.store.get_token(grant.token.id).request_count == CALLS
    assert sum(settled) == CALLS
    assert len(transactions_of_settling) < CALLS / 2, "each had a transaction of its own"


def test_all_that_waits_is_settled_at_the_end_and_nothing_later(ledger: Ledger) -> None:
    worker = ledger.worker()
    grant = ledger.grant(budgets={"tokens": {"day": 100}})
    ask, late = ledger.ask(grant, tokens=10), ledger.ask(grant, tokens=10)
    assert worker.reserve(ask).result(WAIT).hit is None
    note = worker.finish([ledger.finished(ask, seq=1)], "w")
    worker.close()
    assert note.result(0) is None
    with pytest.raises(StoreUnavailable):
        worker.finish([ledger.finished(late, seq=2)], "w").result(WAIT)

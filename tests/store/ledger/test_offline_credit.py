"""Calls go on for a while from what is kept for them, when the store is away; and never beyond a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from store.core.errors import StoreUnavailable
from store.database.engines import engine_of
from store.database.sqlite.engine import SqliteConnection
from store.ledger import LedgerWorker, ReservationRequest
from store.ledger.offline_credit import CALLS, IDLE_SECONDS
from store.tokens import limits
from store.tokens.models import Grant
from tests.store.ledger.conftest import Ledger

WAIT = 30


@pytest.fixture
def seconds() -> list[float]:
    """What the monotonic clock says."""
    return [1000.0]


@pytest.fixture
def worker(ledger: Ledger, seconds: list[float]) -> LedgerWorker:
    worker = LedgerWorker(
        engine_of(ledger.place), clock=lambda: ledger.now, monotonic=lambda: seconds[0], grace_seconds=30
    )
    ledger.workers.append(worker)
    return worker


def held(ledger: Ledger) -> int:
    return sum(int(row["tokens"]) for row in ledger.rows("SELECT tokens FROM holds WHERE settled_at = 0"))


@pytest.fixture
def away(path: Path) -> Callable[[], Any]:
    @contextmanager
    def gone() -> Iterator[None]:
        aside = path.with_suffix(".aside")
        path.rename(aside)
        try:
            yield
        finally:
            aside.rename(path)

    return gone


def passes(worker: LedgerWorker, ask: ReservationRequest) -> bool:
    return worker.reserve(ask).result(WAIT).hit is None


def lent(
    worker: LedgerWorker, ledger: Ledger, grant: Grant, calls: int = 20, tokens: int = 10
) -> list[ReservationRequest]:
    """Those of so many calls that pass while the store is away."""
    found = []
    for _ in range(calls):
        ask = ledger.ask(grant, tokens=tokens)
        try:
            assert passes(worker, ask)
        except StoreUnavailable:
            continue
        found.append(ask)
    return found


def test_calls_go_on_from_what_is_kept(ledger: Ledger, worker: LedgerWorker, away: Callable[[], Any]) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 5000}})
    assert passes(worker, ledger.ask(grant, tokens=10))
    assert held(ledger) == 10 + CALLS * 10
    with away():
        found = lent(worker, ledger, grant)
        assert len(found) == CALLS
        worker.finish([ledger.finished(found[0], seq=1, total_tokens=7)], "w")
        worker.release(found[1].call_id)
    worker.look(ledger.ask(grant)).result(WAIT)
    worker.look(ledger.ask(grant)).result(WAIT)
    spent = ledger.rows("SELECT tokens FROM spend WHERE subject = :id AND period = 'day'", id=grant.token.id)
    assert [row["tokens"] for row in spent] == [7]
    assert held(ledger) == 10 + (CALLS - 2) * 10, "the first call, and those that were lent and are under way"
    assert passes(worker, ledger.ask(grant, tokens=10))
    assert held(ledger) == 10 + (CALLS - 2) * 10 + 10 + CALLS * 10, "and there is a spare again"


@pytest.mark.parametrize(
    "limits",
    [
        {"requests_per_minute": 100},
        {"tokens_per_minute": 10**6},
        {"max_concurrent": 50},
        {"max_requests": 99},
    ],
)
def test_nothing_is_kept_of_what_others_need(
    ledger: Ledger, worker: LedgerWorker, away: Callable[[], Any], limits: dict[str, int]
) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 5000}}, **limits)
    assert passes(worker, ledger.ask(grant, tokens=10))
    assert held(ledger) == 10
    with away():
        assert lent(worker, ledger, grant) == []


def test_none_without_being_told_to(ledger: Ledger, away: Callable[[], Any]) -> None:
    worker, grant = ledger.worker(), ledger.grant(budgets={"tokens": {"day": 5000}})
    assert passes(worker, ledger.ask(grant, tokens=10))
    assert held(ledger) == 10
    with away():
        assert lent(worker, ledger, grant) == []


def test_only_for_the_grace_and_the_lease(
    ledger: Ledger, worker: LedgerWorker, away: Callable[[], Any], seconds: list[float]
) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 5000}})
    assert passes(worker, ledger.ask(grant, tokens=10))
    with away():
        seconds[0] += 29
        assert len(lent(worker, ledger, grant, calls=1)) == 1
        seconds[0] += 2
        assert lent(worker, ledger, grant) == []


def test_not_in_another_period(ledger: Ledger, worker: LedgerWorker, away: Callable[[], Any]) -> None:
    grant = ledger.grant(budgets={"tokens": {"hour": 5000}})
    assert passes(worker, ledger.ask(grant, tokens=10))
    with away():
        ledger.now += 3600
        assert lent(worker, ledger, grant) == []


@pytest.mark.slow
def test_near_its_end_all_of_a_budget_can_be_used(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 2000}})
    other = LedgerWorker(engine_of(ledger.place), clock=lambda: ledger.now, grace_seconds=30)
    ledger.workers.append(other)
    used = 0
    for number in range(200):
        for each in (worker, other):
            ask = ledger.ask(grant, tokens=10)
            if passes(each, ask):
                used += 10
                each.finish([ledger.finished(ask, seq=number + 1)], f"w{id(each)}").result(WAIT)
    assert used == 2000
    assert held(ledger) == 0


def test_what_is_not_in_use_goes_back(ledger: Ledger, worker: LedgerWorker, seconds: list[float]) -> None:
    grant, other = ledger.grant(budgets={"tokens": {"day": 5000}}), ledger.grant()
    ask = ledger.ask(grant, tokens=10)
    assert passes(worker, ask)
    worker.finish([ledger.finished(ask, seq=1)], "w").result(WAIT)
    seconds[0] += IDLE_SECONDS + 1
    worker.look(ledger.ask(other)).result(WAIT)
    assert held(ledger) == 0


def test_the_end_gives_it_back(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 5000}})
    assert passes(worker, ledger.ask(grant, tokens=10))
    worker.close()
    ledger.workers.remove(worker)
    assert held(ledger) == 10


def test_nothing_is_kept_where_budgets_depend_on_what_a_call_claims(
    ledger: Ledger, worker: LedgerWorker
) -> None:
    of_sessions = limits.of({"budgets": {"tokens": {"total": 5000}}})
    ledger.store.update_project("acme", session_limits=of_sessions)
    grant = ledger.grant(budgets={"tokens": {"day": 5000}})
    assert passes(worker, ledger.ask(grant, tokens=10))
    assert held(ledger) == 10


@pytest.fixture
def answers_are_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """What the store commits is known to nobody, while the list is not empty."""
    assert path.exists()
    lost: list[bool] = []
    transaction = SqliteConnection.transaction

    @contextmanager
    def without_an_answer(connection: SqliteConnection) -> Iterator[None]:
        with transaction(connection):
            yield
        if lost and not connection._database.in_transaction:
            raise StoreUnavailable("the connection is lost")

    monkeypatch.setattr(SqliteConnection, "transaction", without_an_answer)
    yield lost
    lost.clear()


def test_what_may_be_held_after_a_lost_answer_is_freed(
    ledger: Ledger, worker: LedgerWorker, answers_are_lost: list[bool]
) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 5000}})
    answers_are_lost.append(True)
    with pytest.raises(StoreUnavailable):
        passes(worker, ledger.ask(grant, tokens=10))
    answers_are_lost.clear()
    assert passes(worker, ledger.ask(grant, tokens=10))
    assert held(ledger) == 10 + CALLS * 10, "the later call's, and its spare"


def test_what_may_be_freed_after_a_lost_answer_is_not_lent(
    ledger: Ledger, worker: LedgerWorker, away: Callable[[], Any], answers_are_lost: list[bool]
) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 2000}})
    assert passes(worker, ledger.ask(grant, tokens=10))
    with away():
        assert len(lent(worker, ledger, grant, calls=1)) == 1
    answers_are_lost.append(True)
    with pytest.raises(StoreUnavailable):
        passes(worker, ledger.ask(grant, tokens=1995))  # gives back what was kept
    with away():
        assert lent(worker, ledger, grant) == []

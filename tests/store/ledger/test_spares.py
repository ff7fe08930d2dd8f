"""Calls go on for a while from what is kept for them, when the store is away; and never beyond a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from store.engine import engine_of
from store.errors import StoreUnavailable
from store.ledger import Ask, Clerk
from store.ledger.spares import CALLS, IDLE_SECONDS
from store.models import Grant
from tests.store.ledger.conftest import Ledger

WAIT = 30


@pytest.fixture
def seconds() -> list[float]:
    """What the monotonic clock says."""
    return [1000.0]


@pytest.fixture
def clerk(ledger: Ledger, seconds: list[float]) -> Clerk:
    clerk = Clerk(
        engine_of(ledger.place), clock=lambda: ledger.now, monotonic=lambda: seconds[0], grace_seconds=30
    )
    ledger.clerks.append(clerk)
    return clerk


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


def passes(clerk: Clerk, ask: Ask) -> bool:
    return clerk.reserve(ask).result(WAIT).hit is None


def lent(clerk: Clerk, ledger: Ledger, grant: Grant, calls: int = 20, tokens: int = 10) -> list[Ask]:
    """Those of so many calls that pass while the store is away."""
    found = []
    for _ in range(calls):
        ask = ledger.ask(grant, tokens=tokens)
        try:
            assert passes(clerk, ask)
        except StoreUnavailable:
            continue
        found.append(ask)
    return found


def test_calls_go_on_from_what_is_kept(ledger: Ledger, clerk: Clerk, away: Callable[[], Any]) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 5000}})
    assert passes(clerk, ledger.ask(grant, tokens=10))
    assert held(ledger) == 10 + CALLS * 10
    with away():
        found = lent(clerk, ledger, grant)
        assert len(found) == CALLS
        clerk.finish([ledger.finished(found[0], seq=1, total_tokens=7)], "w")
        clerk.release(found[1].call_id)
    clerk.look(ledger.ask(grant)).result(WAIT)
    clerk.look(ledger.ask(grant)).result(WAIT)
    spent = ledger.rows("SELECT tokens FROM spend WHERE subject = :id AND period = 'day'", id=grant.token.id)
    assert [row["tokens"] for row in spent] == [7]
    assert held(ledger) == 10 + (CALLS - 2) * 10, "the first call, and those that were lent and are under way"
    assert passes(clerk, ledger.ask(grant, tokens=10))
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
    ledger: Ledger, clerk: Clerk, away: Callable[[], Any], limits: dict[str, int]
) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 5000}}, **limits)
    assert passes(clerk, ledger.ask(grant, tokens=10))
    assert held(ledger) == 10
    with away():
        assert lent(clerk, ledger, grant) == []


def test_none_without_being_told_to(ledger: Ledger, away: Callable[[], Any]) -> None:
    clerk, grant = ledger.clerk(), ledger.grant(budgets={"tokens": {"day": 5000}})
    assert passes(clerk, ledger.ask(grant, tokens=10))
    assert held(ledger) == 10
    with away():
        assert lent(clerk, ledger, grant) == []


def test_only_for_the_grace_and_the_lease(
    ledger: Ledger, clerk: Clerk, away: Callable[[], Any], seconds: list[float]
) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 5000}})
    assert passes(clerk, ledger.ask(grant, tokens=10))
    with away():
        seconds[0] += 29
        assert len(lent(clerk, ledger, grant, calls=1)) == 1
        seconds[0] += 2
        assert lent(clerk, ledger, grant) == []


def test_not_in_another_period(ledger: Ledger, clerk: Clerk, away: Callable[[], Any]) -> None:
    grant = ledger.grant(budgets={"tokens": {"hour": 5000}})
    assert passes(clerk, ledger.ask(grant, tokens=10))
    with away():
        ledger.now += 3600
        assert lent(clerk, ledger, grant) == []


def test_near_its_end_all_of_a_budget_can_be_used(ledger: Ledger, clerk: Clerk) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 2000}})
    other = Clerk(engine_of(ledger.place), clock=lambda: ledger.now, grace_seconds=30)
    ledger.clerks.append(other)
    used = 0
    for number in range(200):
        for each in (clerk, other):
            ask = ledger.ask(grant, tokens=10)
            if passes(each, ask):
                used += 10
                each.finish([ledger.finished(ask, seq=number + 1)], f"w{id(each)}").result(WAIT)
    assert used == 2000
    assert held(ledger) == 0


def test_what_is_not_in_use_goes_back(ledger: Ledger, clerk: Clerk, seconds: list[float]) -> None:
    grant, other = ledger.grant(budgets={"tokens": {"day": 5000}}), ledger.grant()
    ask = ledger.ask(grant, tokens=10)
    assert passes(clerk, ask)
    clerk.finish([ledger.finished(ask, seq=1)], "w").result(WAIT)
    seconds[0] += IDLE_SECONDS + 1
    clerk.look(ledger.ask(other)).result(WAIT)
    assert held(ledger) == 0


def test_the_end_gives_it_back(ledger: Ledger, clerk: Clerk) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 5000}})
    assert passes(clerk, ledger.ask(grant, tokens=10))
    clerk.close()
    ledger.clerks.remove(clerk)
    assert held(ledger) == 10

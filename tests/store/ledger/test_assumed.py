"""What was assumed of calls that were cut off is shown, and can be put right, once."""

from __future__ import annotations

from typing import Any

import pytest

from store.audit.log import AuditLog, Wanted
from store.audit.origin import NOBODY
from store.core.errors import NotFound
from store.database.engines import engine_of
from store.ledger import LedgerWorker, ReservationRequest, assumed
from store.ledger.finished import finished_of
from store.tokens.amounts import NANO
from store.usage.reports import Usage, budgets, usage
from tests.events import typed
from tests.store.ledger.conftest import Ledger
from tests.store.ledger.test_worker import WAIT
from tests.store.usage.test_rollups import event

STRICT = {"budget_mode": "strict", "budgets": {"tokens": {"day": 1000}, "usd": {"total": "1"}}}


def cut_off(ledger: Ledger, worker: LedgerWorker, seq: int, **known: Any) -> ReservationRequest:
    """A call that held 300 tokens and 0.3 usd, and of which the input is known: 20 tokens."""
    grant = ledger.grant(**STRICT)
    ask = ledger.ask(grant, tokens=300, usd=0.3)
    assert worker.reserve(ask).result(WAIT).hit is None
    given = {"outcome": "proxy_died", "total_tokens": 20, "nano_usd": NANO // 100, "at_least": True}
    worker.finish([ledger.finished(ask, seq=seq, **given | known)], "w").result(WAIT)
    return ask


def settle(ledger: Ledger, **what: Any) -> list[str]:
    connection = engine_of(ledger.place).connect()
    try:
        return [one.call_id for one in assumed.settle(connection, AuditLog(connection, NOBODY), **what)]
    finally:
        connection.close()


def shown(ledger: Ledger, ask: ReservationRequest) -> dict[str, tuple[Any, Any]]:
    """Used and assumed of the token's budgets."""
    connection = engine_of(ledger.place).connect()
    try:
        rows = list(budgets(connection, ledger.now))
    finally:
        connection.close()
    return {row["limit"]: (row["used"], row["assumed"]) for row in rows if row["token"] == ask.grant.token.id}


def test_by_its_event(ledger: Ledger, worker: LedgerWorker) -> None:
    ask = cut_off(ledger, worker, 1)
    assert shown(ledger, ask) == {"tokens/day": (300, 280), "usd/total": ("0.30", "0.29")}
    assert settle(ledger, call_id=ask.call_id) == [ask.call_id]
    assert shown(ledger, ask) == {"tokens/day": (20, 0), "usd/total": ("0.01", "0")}
    spent = ledger.rows("SELECT assumed, tokens FROM spend WHERE subject = :id", id=ask.grant.project.id)
    assert {(row["assumed"], row["tokens"]) for row in spent} == {(0, 20)}
    with pytest.raises(NotFound, match="put right already"):
        settle(ledger, call_id=ask.call_id)
    assert shown(ledger, ask)["tokens/day"] == (20, 0), "once"


@pytest.mark.parametrize("by", [("token",), ("token", "hour"), ("month", "model"), ("project", "user")])
def test_reports_of_usage_show_it_until_it_is_put_right(
    ledger: Ledger, worker: LedgerWorker, by: tuple[str, ...]
) -> None:
    ask = ledger.ask(ledger.grant(**STRICT), tokens=300, usd=0.3)
    assert worker.reserve(ask).result(WAIT).hit is None
    ids = {"event_id": ask.call_id, "token_id": ask.grant.token.id, "project_id": ask.grant.project.id}
    known = {"usage": {"input_tokens": 20, "complete": False}, "cost": {"usd": "0.01"}}
    died = typed(event(outcome="proxy_died", **ids, **known))
    worker.finish([finished_of(died, seq=1)], "w").result(WAIT)

    def figures() -> list[tuple[Any, ...]]:
        connection = engine_of(ledger.place).connect()
        try:
            rows = list(usage(connection, Usage(by)))
        finally:
            connection.close()
        return [(row["calls"], row["usd"], row["assumed_tokens"], row["assumed_usd"]) for row in rows]

    assert figures() == [(1, "0.01", 280, "0.29")]
    settle(ledger)
    assert figures() == [(1, "0.01", 0, "0")]


def test_what_is_assumed_of_a_group_without_calls_is_shown_too(ledger: Ledger, worker: LedgerWorker) -> None:
    """A user's name may be one of too many, which the sums call OTHER."""
    ask = cut_off(ledger, worker, 1)
    connection = engine_of(ledger.place).connect()
    connection.run("UPDATE assumed_charges SET used_hour = 1, user_id = 'eve'")
    rows = list(usage(connection, Usage(("user", "token"))))
    connection.close()
    assert [(row["user"], row["token"], row["calls"]) for row in rows] == [("eve", ask.grant.token.id, 0)]
    assert (rows[0]["assumed_tokens"], rows[0]["assumed_usd"]) == (280, "0.29")


def test_by_who_knows_better(ledger: Ledger, worker: LedgerWorker) -> None:
    ask = cut_off(ledger, worker, 1)
    settle(ledger, call_id=ask.call_id, tokens=912, nano_usd=NANO // 2)
    assert shown(ledger, ask) == {"tokens/day": (912, 0), "usd/total": ("0.50", "0")}
    connection = engine_of(ledger.place).connect()
    (row,) = AuditLog(connection, NOBODY).find(Wanted(action="budget.settle"), limit=10)
    connection.close()
    assert (row.token_id, row.project_id) == (ask.grant.token.id, ask.grant.project.id)
    assert ask.call_id in str(row.after)


def test_all_that_a_death_cut_off_and_nothing_else(ledger: Ledger, worker: LedgerWorker) -> None:
    died = [cut_off(ledger, worker, 1), cut_off(ledger, worker, 2)]
    left = cut_off(ledger, worker, 3, outcome="client_aborted")
    known = cut_off(ledger, worker, 4, outcome="ok", at_least=False)
    assert sorted(settle(ledger)) == sorted(ask.call_id for ask in died)
    assert shown(ledger, left)["tokens/day"] == (300, 280)
    assert shown(ledger, known)["tokens/day"] == (20, 0)
    assert settle(ledger) == []


def test_it_is_forgotten_when_no_budget_needs_it(ledger: Ledger, worker: LedgerWorker) -> None:
    cut_off(ledger, worker, 1)
    ledger.now += assumed.KEEP_SECONDS + 1
    worker.clean_up()
    worker.finish([], "w").result(WAIT)
    assert ledger.rows("SELECT * FROM assumed_charges") == []

"""A call's other cost in the sums: once, whatever happens."""

from __future__ import annotations

from typing import Any

import pytest

from store.core.event import Cost
from store.database.engine import Connection
from store.prices.repricings import Repricing, apply
from store.tokens.calendar import HOUR, PERIODS, USUAL
from store.tokens.store import TokenStore
from store.usage.reports import Usage, usage
from store.usage.rollups import RollUps, line_of, move_rolled
from tests.events import typed
from tests.store.engines import add_row
from tests.store.usage.test_rollups import HOUR as CALL_HOUR
from tests.store.usage.test_rollups import event

UNPRICED = {"usd": None, "price_source": "unknown", "missing": "no price", "reason": "model_unknown"}


@pytest.fixture
def db(store: TokenStore) -> Connection:
    return store.connection


def count(db: Connection, *events: dict[str, Any]) -> None:
    """Have the sums, and what was spent, include `events`, as a proxy does."""
    with db.transaction():
        lines = [line_of(typed(each)) for each in events]
        RollUps().add(db, lines)
        for line in lines:
            for subject in ("t", "p"):
                for period in PERIODS:
                    start = USUAL.start(period, CALL_HOUR * HOUR)
                    amounts = {"requests": 1, "tokens": 0, "nano_usd": line.figures["nano_usd"], "assumed": 0}
                    place = {"subject": subject, "period": period, "starts_at": start}
                    add_row(db, "spend", place, amounts)
        move_rolled(db, "w", 9)


def reprice(db: Connection, call: dict[str, Any], usd: str) -> int:
    with db.transaction():
        return apply(db, [Repricing(typed(call), Cost(usd))], RollUps())


def spent(db: Connection) -> set[int]:
    return {row["nano_usd"] for row in db.rows("SELECT nano_usd FROM spend")}


def test_a_price_that_became_known_is_in_reports_and_budgets_once(db: Connection) -> None:
    call = event(event_id="1", writer="w", seq=1, cost=UNPRICED)
    count(db, call)
    assert reprice(db, call, "0.5") == 1
    (row,) = usage(db, Usage(("model",)))
    assert (row["usd"], row["unpriced"], row["calls"]) == ("0.5", 0, 1)
    assert spent(db) == {500_000_000}
    assert reprice(db, call, "0.5") == 0
    assert list(usage(db, Usage(("model",)))) == [row]
    assert spent(db) == {500_000_000}


def test_a_second_repricing_takes_the_place_of_the_first(db: Connection) -> None:
    call = event(event_id="1", writer="w", seq=1, cost={"usd": "2"})
    count(db, call)
    reprice(db, call, "3")
    reprice(db, call, "1.5")
    (row,) = usage(db, Usage(("model",)))
    assert row["usd"] == "1.5"
    assert spent(db) == {1_500_000_000}


@pytest.mark.parametrize("twice", [False, True])
def test_marks_follow_the_cost(db: Connection, twice: bool) -> None:
    """A lower bound that became whole is none any more, and a price that is a lower bound makes one."""
    bound = {"usd": "2", "reason": "lower_bound", "missing": "a lower bound; missing: tools"}
    calls = [
        event(event_id="1", writer="w", seq=1, cost=bound),
        event(event_id="2", writer="w", seq=2, cost=UNPRICED),
    ]
    count(db, *calls)
    for _ in range(2 if twice else 1):
        with db.transaction():
            costs = [Cost("3", approximate=["service_tier"]), Cost("1", reason="lower_bound")]
            apply(
                db, [Repricing(typed(one), cost) for one, cost in zip(calls, costs, strict=True)], RollUps()
            )
    (row,) = usage(db, Usage(("model",)))
    marks = {name: row[name] for name in ("unpriced", "lower_bound", "approximate")}
    assert (row["usd"], marks) == ("4", {"unpriced": 0, "lower_bound": 1, "approximate": 1})
    with db.transaction():
        apply(db, [Repricing(typed(calls[1]), Cost("1"))], RollUps())
    (row,) = usage(db, Usage(("model",)))
    assert (row["usd"], row["lower_bound"], row["approximate"]) == ("4", 0, 1)


def test_sums_of_calls_from_before_marks_have_none_to_take_away(db: Connection) -> None:
    call = event(event_id="1", writer="w", seq=1, cost={"usd": "2", "reason": "lower_bound"})
    count(db, call)
    for table in ("usage_hours", "usage_days"):
        db.run(f"UPDATE {table} SET lower_bound = 0")
    reprice(db, call, "3")
    (row,) = usage(db, Usage(("model",)))
    assert (row["usd"], row["lower_bound"]) == ("3", 0)


def test_what_was_held_for_a_call_without_a_price_is_given_back(db: Connection) -> None:
    call = event(event_id="1", writer="w", seq=1, cost=UNPRICED)
    count(db, call)
    names = ("taken_at", "hour", "requests", "tokens", "counted", "running", "expires_at", "settled_at")
    hold = {"call_id": "1", "token_id": "t", "project_id": "p", "process": "", **dict.fromkeys(names, 0)}
    db.insert("holds", [hold | {"nano_usd": 10_000_000}])
    db.run("UPDATE spend SET nano_usd = 10000000")  # it was charged with what was held
    reprice(db, call, "0.5")
    assert spent(db) == {500_000_000}


def test_calls_that_the_store_never_counted_change_nothing(db: Connection) -> None:
    counted = event(event_id="1", writer="w", seq=1)
    count(db, counted)
    before = list(usage(db, Usage(("model",))))
    assert reprice(db, event(event_id="2", writer="another", seq=1), "7") == 0
    assert reprice(db, event(event_id="3"), "7") == 0
    assert list(usage(db, Usage(("model",)))) == before

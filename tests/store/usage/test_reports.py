"""Budgets and their marks, on each engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from store.core.event import BudgetRecord
from store.database.engines import engine_of
from store.ledger import Finished, LedgerWorker
from store.tokens import limits
from store.tokens.store import TokenStore
from store.usage import reports
from store.usage.reports import budgets
from tests.store.engines import add_row

WAIT = 30


def test_what_is_left_of_budgets_and_which_marks_are_reached(store: TokenStore) -> None:
    budget = {"usd": {"month": "5"}, "tokens": {"total": 100}}
    project = store.create_project("acme", "sk-real-12345678", limits=limits.of({"budgets": budget}))
    token, _ = store.create_token(project.id, limits=limits.of({"budgets": {"usd": {"week": "1.50"}}}))
    told: list[BudgetRecord] = []
    engine = engine_of(store.location)
    for number in (1, 2):  # two processes
        worker = LedgerWorker(engine)
        worker.on_reached = told.extend
        call = Finished(
            f"c{number}",
            token.id,
            project.id,
            time.time(),
            "ok",
            "chat",
            number,
            total_tokens=45,
            nano_usd=10**9,
        )
        worker.finish([call, call], "w").result(WAIT)
        worker.told([str(event.event_id) for event in told])
        worker.close()
    assert [(event.side, event.limit, event.reached) for event in told] == [
        ("token", "usd/week", 50),
        ("token", "usd/week", 80),
        ("token", "usd/week", 100),
        ("project", "tokens/total", 50),
        ("project", "tokens/total", 80),
    ]
    connection = engine.connect()
    rows = {row["limit"]: row for row in budgets(connection, time.time())}
    assert list(budgets(connection, time.time(), project_id="another")) == []
    assert connection.rows("SELECT COUNT(*) AS number FROM budget_marks WHERE told = 0")[0]["number"] == 0
    connection.close()
    assert list(rows) == ["usd/week", "tokens/total", "usd/month"]
    week, total, month = rows.values()
    assert (week["used"], week["left"], week["percent"], week["reached"]) == ("2", "0", 133.3, 100)
    assert (total["used"], total["left"], total["percent"], total["reached"]) == (90, 10, 90.0, 80)
    assert (month["used"], month["left"], month["percent"], month["reached"]) == ("2", "3", 40.0, None)
    assert (total["resets_at"], total["token"], week["token_prefix"]) == (None, None, token.prefix)


def test_many_budgets_come_in_pages(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few are sorted, the fullest first; many come as they are read."""
    monkeypatch.setattr(reports, "CHUNK", 3)
    project = store.create_project("acme", "sk-real-12345678")
    daily = limits.of({"budgets": {"usd": {"day": "5"}}})
    made = [store.create_token(project.id, limits=daily)[0].id for _ in range(8)]
    assert {row["token"] for row in budgets(store.connection, time.time())} == {*made}
    monkeypatch.setattr(reports, "SORTED", 2)
    rows = budgets(store.connection, time.time())
    assert [next(rows)["token"] for _ in range(2)] == made[:2]
    store.connection.run("UPDATE tokens SET active = 0 WHERE id > :after", after=made[2])
    assert [row["token"] for row in rows] == [made[2]], "later pages were not read before"


def test_a_page_of_budgets_takes_a_few_questions(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question for each token would be minutes for a million of them."""
    project = store.create_project("acme", "sk-real-12345678")
    daily = limits.of({"budgets": {"usd": {"day": "5"}, "tokens": {"month": 10}}})
    for _ in range(20):
        store.create_token(project.id, limits=daily)
    asked: list[str] = []
    connection, rows = store.connection, store.connection.rows
    monkeypatch.setattr(connection, "rows", lambda sql, **values: asked.append(sql) or rows(sql, **values))
    assert len(list(budgets(connection, time.time()))) == 40
    assert len(asked) < 12


def test_groups_are_read_one_by_one(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """By token there may be more than fit into memory; what they cost is their order all the same."""
    monkeypatch.setattr(reports, "CHUNK", 3)
    monkeypatch.setattr(reports, "SORTED", 2)
    connection, read = store.connection, 0
    for number in range(10):
        key = {"hour": 500_000, "project_id": "p", "token_id": f"t{number}", "user_id": "", "model": "m"}
        amounts = {"calls": 1, "nano_usd": number * 10**9}
        add_row(connection, "usage_hours", {**key, "endpoint": "chat"}, amounts)
    each = connection.each

    def counted(sql: str, **values: Any) -> Iterator[Any]:
        nonlocal read
        for row in each(sql, **values):
            read += 1
            yield row

    monkeypatch.setattr(connection, "each", counted)
    rows = reports.usage(connection, reports.Usage(("token",)))
    assert [next(rows)["token"] for _ in range(3)] == ["t9", "t8", "t7"]
    assert read == 3
    assert [row["usd"] for row in rows] == [str(number) for number in range(6, -1, -1)]

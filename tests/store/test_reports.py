"""Budgets and their marks, on each engine."""

from __future__ import annotations

import time
from typing import Any

from store import limits
from store.engine import engine_of
from store.ledger import Clerk, Finished
from store.reports import budgets
from store.tokens import TokenStore

WAIT = 30


def test_what_is_left_of_budgets_and_which_marks_are_reached(store: TokenStore) -> None:
    budget = {"usd": {"month": "5"}, "tokens": {"total": 100}}
    project = store.create_project("acme", "sk-real-12345678", limits=limits.of({"budgets": budget}))
    token, _ = store.create_token(project.id, limits=limits.of({"budgets": {"usd": {"week": "1.50"}}}))
    told: list[dict[str, Any]] = []
    engine = engine_of(store.location)
    for number in (1, 2):  # two processes
        clerk = Clerk(engine)
        clerk.on_reached = told.extend
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
        clerk.finish([call, call], "w").result(WAIT)
        clerk.told([event["event_id"] for event in told])
        clerk.close()
    assert [(event["side"], event["limit"], event["reached"]) for event in told] == [
        ("token", "usd/week", 50),
        ("token", "usd/week", 80),
        ("token", "usd/week", 100),
        ("project", "tokens/total", 50),
        ("project", "tokens/total", 80),
    ]
    connection = engine.connect()
    rows = {row["limit"]: row for row in budgets(connection, time.time())}
    assert budgets(connection, time.time(), project_id="another") == []
    assert connection.rows("SELECT COUNT(*) AS number FROM budget_marks WHERE told = 0")[0]["number"] == 0
    connection.close()
    assert list(rows) == ["usd/week", "tokens/total", "usd/month"]
    week, total, month = rows.values()
    assert (week["used"], week["left"], week["percent"], week["reached"]) == ("2", "0", 133.3, 100)
    assert (total["used"], total["left"], total["percent"], total["reached"]) == (90, 10, 90.0, 80)
    assert (month["used"], month["left"], month["percent"], month["reached"]) == ("2", "3", 40.0, None)
    assert (total["resets_at"], total["token"], week["token_prefix"]) == (None, None, token.prefix)

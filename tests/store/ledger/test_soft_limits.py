"""Marks of budgets: each once in a period, over all processes, and none lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from store.ledger import Clerk
from store.ledger.soft_limits import reached
from store.models import Grant
from tests.store.ledger.conftest import NOON, Ledger

WAIT = 30
HOUR = 3600


@pytest.fixture
def heard(clerk: Clerk) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    clerk.on_reached = events.extend
    return events


class Spender:
    """Finishes calls of one writer."""

    def __init__(self, ledger: Ledger, clerk: Clerk, writer: str = "w") -> None:
        self.ledger, self.clerk, self.writer, self.number = ledger, clerk, writer, 0

    def spend(self, grant: Grant, usd: float, tokens: int = 0) -> None:
        self.number += 1
        call = self.ledger.finished(self.ledger.ask(grant, usd=usd, tokens=tokens), seq=self.number)
        self.clerk.finish([call], self.writer).result(WAIT)


def marks(events: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return [(event["side"], event["limit"], event["reached"]) for event in events]


def test_each_mark_once_in_a_period(ledger: Ledger, clerk: Clerk, heard: list[dict[str, Any]]) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1.00"}})
    spender = Spender(ledger, clerk)
    told = []
    for usd in (0.49, 0.01, 0.1, 0.3, 0.2, 0.5):
        heard.clear()
        spender.spend(grant, usd)
        told.append([event["reached"] for event in heard])
    assert told == [[], [50], [], [80], [100], []]
    ledger.now += 24 * HOUR
    spender.spend(grant, 0.6)
    assert marks(heard) == [("token", "usd/day", 50)], "a new day"


def test_what_an_event_says(ledger: Ledger, clerk: Clerk, heard: list[dict[str, Any]]) -> None:
    grant = ledger.grant(of_project={"budgets": {"usd": {"total": "2"}}}, budgets={"tokens": {"week": 100}})
    Spender(ledger, clerk).spend(grant, 1.25, tokens=60)
    token, project = heard
    assert token["type"] == "llm_proxy_budget"
    assert (token["limit"], token["allowed"], token["used"], token["percent"]) == (
        "tokens/week",
        100,
        60,
        60.0,
    )
    assert (token["token_id"], token["project_id"]) == (grant.token.id, grant.project.id)
    assert token["resets_at"].endswith("T00:00:00.000Z")
    assert (project["limit"], project["allowed"], project["used"]) == ("usd/total", 2.0, 1.25)
    assert (project["token_id"], project["project_name"], project["resets_at"]) == (None, "acme", None)


def test_two_processes_tell_it_once(ledger: Ledger, clerk: Clerk, heard: list[dict[str, Any]]) -> None:
    other = ledger.clerk()
    other.on_reached = heard.extend
    grant = ledger.grant(budgets={"usd": {"day": "1.00"}})
    spenders = [Spender(ledger, clerk, "v"), Spender(ledger, other, "w")]
    for _ in range(4):
        for spender in spenders:
            spender.spend(grant, 0.2)
    assert [event["reached"] for event in heard] == [50, 80, 100]


def test_a_refusal_for_want_of_budget_is_its_end(
    ledger: Ledger, clerk: Clerk, heard: list[dict[str, Any]]
) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1.00"}}, max_requests=9, requests_per_minute=1)
    Spender(ledger, clerk).spend(grant, 0.7)
    for _ in range(3):
        assert clerk.reserve(ledger.ask(grant, usd=0.5)).result(WAIT).hit
    assert [event["reached"] for event in heard] == [50, 80, 100]
    assert heard[-1]["percent"] == 70.0
    assert clerk.reserve(ledger.ask(grant)).result(WAIT).hit is None
    assert clerk.reserve(ledger.ask(grant)).result(WAIT).hit, "of the rate, which has no marks"
    assert len(heard) == 3


def test_an_event_that_nobody_has_put_on_disk_is_told_again(
    ledger: Ledger, clerk: Clerk, heard: list[dict[str, Any]]
) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1.00"}})
    Spender(ledger, clerk).spend(grant, 0.8)
    first, second = heard
    clerk.told([first["event_id"]])
    clerk.look(ledger.ask(grant)).result(WAIT)
    ledger.now += 61
    other = ledger.clerk()
    again: list[dict[str, Any]] = []
    other.on_reached = again.extend
    other.clean_up()
    other.close()
    ledger.clerks.remove(other)
    assert again == [second], "with the same event_id"


def test_a_transaction_that_is_undone_tells_nothing(
    path: Path, ledger: Ledger, clerk: Clerk, heard: list[dict[str, Any]]
) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1.00"}})
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON budget_marks BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    call = ledger.finished(ledger.ask(grant, usd=0.6), seq=1)
    assert clerk.finish([call], "w").exception(WAIT)
    assert heard == []
    with sqlite3.connect(path) as database:
        database.execute("DROP TRIGGER full")
    clerk.finish([call], "w").result(WAIT)
    assert [event["reached"] for event in heard] == [50]


def test_marks_of_the_present_period(ledger: Ledger, clerk: Clerk) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1.00"}})
    Spender(ledger, clerk).spend(grant, 0.85)
    start = int(NOON) // 86400 * 86400
    connection = clerk._engine.connect()
    assert reached(connection, [grant.token.id]) == {(grant.token.id, "usd/day", start): 80}
    connection.close()

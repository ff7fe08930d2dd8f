"""Marks of budgets: each once in a period, over all processes, and none lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from store.core.event import BudgetRecord
from store.ledger import LedgerWorker, budget_alerts, sessions
from store.ledger.budget_alerts import reached
from store.tokens import label_limits, limits
from store.tokens.models import Grant
from store.usage.rollups import Line
from tests.store.ledger.conftest import NOON, Ledger

WAIT = 30
HOUR = 3600


@pytest.fixture
def heard(worker: LedgerWorker) -> list[BudgetRecord]:
    events: list[BudgetRecord] = []
    worker.on_reached = events.extend
    return events


class Spender:
    """Finishes calls of one writer."""

    def __init__(self, ledger: Ledger, worker: LedgerWorker, writer: str = "w") -> None:
        self.ledger, self.worker, self.writer, self.number = ledger, worker, writer, 0

    def spend(self, grant: Grant, usd: float, tokens: int = 0) -> None:
        self.number += 1
        call = self.ledger.finished(self.ledger.ask(grant, usd=usd, tokens=tokens), seq=self.number)
        self.worker.finish([call], self.writer).result(WAIT)


def marks(events: list[BudgetRecord]) -> list[tuple[str | None, str | None, int | None]]:
    return [(event.side, event.limit, event.reached) for event in events]


def test_each_mark_once_in_a_period(ledger: Ledger, worker: LedgerWorker, heard: list[BudgetRecord]) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1.00"}})
    spender = Spender(ledger, worker)
    told = []
    for usd in (0.49, 0.01, 0.1, 0.3, 0.2, 0.5):
        heard.clear()
        spender.spend(grant, usd)
        told.append([event.reached for event in heard])
    assert told == [[], [50], [], [80], [100], []]
    ledger.now += 24 * HOUR
    spender.spend(grant, 0.6)
    assert marks(heard) == [("token", "usd/day", 50)], "a new day"


def test_what_an_event_says(ledger: Ledger, worker: LedgerWorker, heard: list[BudgetRecord]) -> None:
    grant = ledger.grant(of_project={"budgets": {"usd": {"total": "2"}}}, budgets={"tokens": {"week": 100}})
    Spender(ledger, worker).spend(grant, 1.25, tokens=60)
    token, project = heard
    assert token.type == "llm_proxy_budget"
    assert (token.limit, token.allowed, token.used, token.percent) == (
        "tokens/week",
        100,
        60,
        60.0,
    )
    assert (token.token_id, token.project_id) == (grant.token.id, grant.project.id)
    assert token.resets_at.endswith("T00:00:00.000Z")
    assert (project.limit, project.allowed, project.used) == ("usd/total", 2.0, 1.25)
    assert (project.token_id, project.project_name, project.resets_at) == (None, "acme", None)


def test_two_processes_tell_it_once(ledger: Ledger, worker: LedgerWorker, heard: list[BudgetRecord]) -> None:
    other = ledger.worker()
    other.on_reached = heard.extend
    grant = ledger.grant(budgets={"usd": {"day": "1.00"}})
    spenders = [Spender(ledger, worker, "v"), Spender(ledger, other, "w")]
    for _ in range(4):
        for spender in spenders:
            spender.spend(grant, 0.2)
    assert [event.reached for event in heard] == [50, 80, 100]


def test_a_refusal_for_want_of_budget_is_its_end(
    ledger: Ledger, worker: LedgerWorker, heard: list[BudgetRecord]
) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1.00"}}, max_requests=9, requests_per_minute=1)
    Spender(ledger, worker).spend(grant, 0.7)
    for _ in range(3):
        assert worker.reserve(ledger.ask(grant, usd=0.5)).result(WAIT).hit
    assert [event.reached for event in heard] == [50, 80, 100]
    assert heard[-1].percent == 70.0
    assert worker.reserve(ledger.ask(grant)).result(WAIT).hit is None
    assert worker.reserve(ledger.ask(grant)).result(WAIT).hit, "of the rate, which has no marks"
    assert len(heard) == 3


def test_an_event_that_nobody_has_put_on_disk_is_told_again(
    ledger: Ledger, worker: LedgerWorker, heard: list[BudgetRecord]
) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1.00"}})
    Spender(ledger, worker).spend(grant, 0.8)
    first, second = heard
    worker.told([str(first.event_id)])
    worker.look(ledger.ask(grant)).result(WAIT)
    ledger.now += 61
    other = ledger.worker()
    again: list[BudgetRecord] = []
    other.on_reached = again.extend
    other.clean_up()
    other.close()
    ledger.workers.remove(other)
    assert again == [second], "with the same event_id"


def test_a_transaction_that_is_undone_tells_nothing(
    path: Path, ledger: Ledger, worker: LedgerWorker, heard: list[BudgetRecord]
) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1.00"}})
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON budget_marks BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    call = ledger.finished(ledger.ask(grant, usd=0.6), seq=1)
    assert worker.finish([call], "w").exception(WAIT)
    assert heard == []
    with sqlite3.connect(path) as database:
        database.execute("DROP TRIGGER full")
    worker.finish([call], "w").result(WAIT)
    assert [event.reached for event in heard] == [50]


def test_marks_of_the_present_period(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1.00"}})
    Spender(ledger, worker).spend(grant, 0.85)
    start = int(NOON) // 86400 * 86400
    connection = worker._engine.connect()
    assert reached(connection, [grant.token.id]) == {(grant.token.id, "usd/day", start): 80}
    connection.close()


def claiming(
    ledger: Ledger, worker: LedgerWorker, grant: Grant, number: int, usd: float, **claims: str
) -> None:
    """Reserve and finish a call that claims something."""
    ask = ledger.ask(grant.claiming({name.replace("_", ":"): text for name, text in claims.items()}), usd=usd)
    if worker.reserve(ask).result(WAIT).hit is None:
        worker.finish([ledger.finished(ask, seq=number)], "w").result(WAIT)


def test_budgets_of_users_labels_and_sessions_have_marks(
    ledger: Ledger, worker: LedgerWorker, heard: list[BudgetRecord]
) -> None:
    day, total = ({"budgets": {"usd": {period: "1.00"}}} for period in ("day", "total"))
    labels = label_limits.of({"team": day})
    ledger.store.update_project(
        "acme", user_limits=limits.of(day), session_limits=limits.of(total), label_limits=labels
    )
    grant = ledger.grant()
    who = {"user": "ada", "session": "s1", "label_team": "search"}
    told = []
    for number, usd in enumerate((0.4, 0.2, 0.3, 0.3), 1):
        claiming(ledger, worker, grant, number, usd, **who)
        told.append(sorted(marks(heard), key=str))
        heard.clear()
    limited = (("label", "usd/day"), ("session", "usd/total"), ("user", "usd/day"))
    assert told[:3] == [[], *([(*whose, percent) for whose in limited] for percent in (50, 80))]
    assert told[3] == [("session", "usd/total", 100)], "the call is refused by what never resets"
    claiming(ledger, worker, grant, 5, 0.6, user="bob", session="s2", label_team="other")
    found = {event.side: event for event in heard}
    assert {side: event.name for side, event in found.items()} == {
        "user": "bob",
        "session": "s2",
        "label": "team=other",
    }
    assert {event.project_id for event in heard} == {grant.project.id}
    assert found["session"].token_id == grant.token.id
    assert found["user"].token_id is None
    assert len({event.event_id for event in heard}) == 3


def test_marks_of_invented_users_are_bounded(
    ledger: Ledger,
    worker: LedgerWorker,
    heard: list[BudgetRecord],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Such a call is refused, and costs its client nothing: there may be any number."""
    monkeypatch.setattr(budget_alerts, "MOST_OF_CLAIMED", 6)
    ledger.store.update_project("acme", user_limits=limits.of({"budgets": {"usd": {"day": "1"}}}))
    grant = ledger.grant()
    for number in range(20):
        claiming(ledger, worker, grant, number + 1, 2.0, user=f"u{number}")
    assert len(heard) == 6
    assert len(ledger.rows("SELECT id FROM budget_marks")) == 6
    assert caplog.text.count("budget alerts of more users") == 1
    heard.clear()
    ledger.now += 24 * HOUR
    claiming(ledger, worker, grant, 30, 2.0, user="u50")
    assert [event.name for event in heard] == ["u50"] * 3, "another day"


def test_marks_of_a_session_go_with_it(
    ledger: Ledger, worker: LedgerWorker, heard: list[BudgetRecord]
) -> None:
    ledger.store.update_project("acme", session_limits=limits.of({"budgets": {"usd": {"total": "1"}}}))
    grant = ledger.grant().claiming({"session": "s1"})
    ask = ledger.ask(grant, usd=0.6)
    worker.reserve(ask).result(WAIT)
    figures = dict.fromkeys(("calls", "refused", "failed", "total_tokens", "nano_usd"), 0)
    line = Line((0, grant.project.id, grant.token.id, "", "", "chat"), figures)
    worker.finish([ledger.finished(ask, seq=1, session="s1", line=line)], "w").result(WAIT)
    assert [event.reached for event in heard] == [50]
    ledger.now += sessions.KEEP_SECONDS + 61
    worker.clean_up()
    worker.look(ledger.ask(grant)).result(WAIT)
    assert ledger.rows("SELECT id FROM budget_marks") == []

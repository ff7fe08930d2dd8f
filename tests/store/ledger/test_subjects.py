"""Limits of what a call claims: its agent's session, its user, the address that it comes from."""

from __future__ import annotations

import json

import pytest

from addons.checks.limits.limit_errors import why_not
from store.core.errors import Conflict, Invalid, NotFound
from store.database.engines import engine_of
from store.ledger import LedgerWorker, ReservationRequest, sessions
from store.tokens import limits
from store.tokens.amounts import parse_budget
from store.tokens.models import Grant
from store.usage import reports
from store.usage.rollups import Line
from tests.store.ledger.conftest import Ledger

WAIT = 30
SESSION = {"budgets": {"tokens": {"total": 100}}}


def refused(worker: LedgerWorker, ask: ReservationRequest) -> str:
    refusal = why_not(worker.reserve(ask).result(WAIT))
    return refusal.message if refusal else ""


def limited(ledger: Ledger, **of: object) -> Grant:
    """The grant of a new token of a project with such limits."""
    ledger.store.update_project("acme", **{name: limits.of(value) for name, value in of.items()})  # type: ignore[arg-type]
    return ledger.grant()


def test_a_session_ends_at_its_budget_and_others_go_on(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = limited(ledger, session_limits=SESSION)
    mine, other = grant.claiming({"session": "s1"}), grant.claiming({"session": "s2"})
    first = ledger.ask(mine, tokens=60)
    assert refused(worker, first) == ""
    said = refused(worker, ledger.ask(mine, tokens=60))
    assert "This agent session's budget of 100 tokens in all" in said
    assert f"llmproxy session topup {grant.token.id}/s1 5usd" in said
    assert refused(worker, ledger.ask(other, tokens=60)) == ""
    worker.finish([ledger.finished(first, seq=1, total_tokens=90)], "w").result(WAIT)
    assert "90 tokens are used" in refused(worker, ledger.ask(mine, tokens=20))
    assert refused(worker, ledger.ask(mine, tokens=10)) == ""


def test_calls_that_name_no_session_share_the_tokens_own(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = limited(ledger, session_limits=SESSION)
    assert refused(worker, ledger.ask(grant, tokens=60)) == ""
    assert f"topup {grant.token.id} 5usd" in refused(worker, ledger.ask(grant, tokens=60))
    assert refused(worker, ledger.ask(ledger.grant(), tokens=60)) == "", "of another token"


def test_another_session_does_not_escape_the_tokens_budget(ledger: Ledger, worker: LedgerWorker) -> None:
    ledger.store.update_project("acme", session_limits=limits.of(SESSION))
    grant = ledger.grant(budgets={"tokens": {"total": 150}})
    asks = [ledger.ask(grant.claiming({"session": f"s{n}"}), tokens=60) for n in range(3)]
    said = [refused(worker, ask) for ask in asks]
    assert said[:2] == ["", ""]
    assert "The proxy token's budget" in said[2]


def test_the_smaller_budget_of_token_and_project_holds(ledger: Ledger, worker: LedgerWorker) -> None:
    ledger.store.update_project("acme", session_limits=limits.of(SESSION))
    _, text = ledger.store.create_token(
        "acme", session_limits=limits.of({"budgets": {"tokens": {"total": 50}}})
    )
    grant = ledger.again(text.reveal()).claiming({"session": "s"})
    assert "budget of 50 tokens" in refused(worker, ledger.ask(grant, tokens=60))


def test_a_session_that_is_topped_up_goes_on(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = limited(ledger, session_limits=SESSION).claiming({"session": "s1"})
    ask = ledger.ask(grant, tokens=100)
    assert refused(worker, ask) == ""
    with pytest.raises(NotFound, match="session 's1': there is none"):
        ledger.store.top_up_session("s1", parse_budget("50tokens/total"))
    line = Line((0, grant.project.id, grant.token.id, "", "", "chat"), FIGURES | {"total_tokens": 100})
    worker.finish([ledger.finished(ask, seq=1, session="s1", line=line)], "w").result(WAIT)
    assert refused(worker, ledger.ask(grant, tokens=50))
    (gauge,) = ledger.store.top_up_session("s1", parse_budget("50tokens/total"))
    assert (gauge.allowed, gauge.used) == (150, 100)
    assert refused(worker, ledger.ask(grant, tokens=50)) == ""
    with pytest.raises(Conflict, match="no budget usd/total"):
        ledger.store.top_up_session(f"{grant.token.id}/s1", parse_budget("5usd/total"))
    rows = ledger.rows("SELECT token_id, after FROM audit WHERE action = 'session.topup' ORDER BY seq")
    (row,) = [row for row in rows if row["after"]]
    assert json.loads(row["after"]) == {"session": "s1", "topup": "50tokens/total"}
    assert row["token_id"] == grant.token.id


FIGURES = dict.fromkeys(("calls", "refused", "failed", "total_tokens", "nano_usd"), 0)


def test_sessions_are_summed_up_and_forgotten(
    ledger: Ledger, worker: LedgerWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = limited(ledger, session_limits=SESSION)
    line = Line((0, grant.project.id, grant.token.id, "", "", "chat"), FIGURES | {"total_tokens": 7})
    for number in range(3):
        ask = ledger.ask(grant.claiming({"session": f"s{number}"}), tokens=5)
        assert refused(worker, ask) == ""
        worker.finish([ledger.finished(ask, seq=number + 1, session=f"s{number}", line=line)], "w").result(
            WAIT
        )
        ledger.now += 60
    assert names(ledger) == ["s2", "s1", "s0"]
    monkeypatch.setattr(sessions, "MOST", 2)
    worker.clean_up()
    worker.look(ledger.ask(grant)).result(WAIT)
    assert names(ledger) == ["s2", "s1"]
    subjects = {row["subject"] for row in ledger.rows("SELECT subject FROM spend")}
    assert sessions.session_id(grant.token.id, "s0") not in subjects
    assert sessions.session_id(grant.token.id, "s1") in subjects
    ledger.now += sessions.KEEP_SECONDS + 61
    worker.clean_up()
    worker.look(ledger.ask(grant)).result(WAIT)
    assert names(ledger) == []


def names(ledger: Ledger) -> list[str]:
    return [row["name"] for row in ledger.rows("SELECT name FROM sessions ORDER BY last_at DESC")]


def test_each_user_has_limits_over_all_tokens_of_the_project(ledger: Ledger, worker: LedgerWorker) -> None:
    of_users = {"budgets": {"tokens": {"day": 100}}, "requests_per_minute": 3}
    tokens = [limited(ledger, user_limits=of_users), ledger.grant()]
    ada = [grant.claiming({"user": "ada"}) for grant in tokens]
    first = ledger.ask(ada[0], tokens=60)
    assert refused(worker, first) == ""
    assert "The user's budget of 100 tokens per day" in refused(worker, ledger.ask(ada[1], tokens=60))
    assert refused(worker, ledger.ask(tokens[0].claiming({"user": "bob"}), tokens=60)) == ""
    worker.finish([ledger.finished(first, seq=1, total_tokens=30)], "w").result(WAIT)
    second = ledger.ask(ada[1], tokens=60)
    assert refused(worker, second) == "", "what was not used is free again"
    extended = worker.extend(second.call_id, 90, 0).result(WAIT)
    assert extended is not None
    assert extended.side == "user"
    assert refused(worker, ledger.ask(ada[0])) == ""
    assert "The user's limit of 3 requests per minute" in refused(worker, ledger.ask(ada[1]))
    ledger.now += 86400
    assert refused(worker, ledger.ask(ada[1], tokens=60)) == "", "of another day"


def test_each_address_has_limits(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = limited(ledger, address_limits={"requests_per_minute": 1})
    here = grant.claiming({"address": "192.0.2.7"})
    assert refused(worker, ledger.ask(here)) == ""
    assert "The client address's limit of 1 requests" in refused(worker, ledger.ask(here))
    assert refused(worker, ledger.ask(grant.claiming({"address": "192.0.2.8"}))) == ""


def test_what_users_used_in_periods_that_are_over_is_forgotten(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = limited(ledger, user_limits={"budgets": {"tokens": {"day": 100}}}).claiming({"user": "ada"})
    ask = ledger.ask(grant, tokens=60)
    assert refused(worker, ask) == ""
    worker.finish([ledger.finished(ask, seq=1)], "w").result(WAIT)
    query = "SELECT period FROM spend WHERE subject = :subject"
    of_ada = f"user:{grant.project.id}/ada"
    assert {row["period"] for row in ledger.rows(query, subject=of_ada)} == {"hour", "day", "week", "month"}
    ledger.now += 70 * 86400
    worker.clean_up()
    worker.look(ledger.ask(grant)).result(WAIT)
    assert ledger.rows(query, subject=of_ada) == []
    assert ledger.rows(query, subject=grant.token.id) != []


def test_nothing_is_kept_of_claims_without_limits(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(requests_per_minute=5).claiming({"user": "ada", "session": "s1"})
    assert refused(worker, ledger.ask(grant)) == ""
    (hold,) = ledger.rows("SELECT session_key, user_key, address_key FROM holds")
    assert set(hold.values()) == {None}


@pytest.mark.parametrize("name", ["x" * 500, "a\nb\0", "sk-proj-0123456789abcdefghijklmnop", "\ud800"])
def test_claims_that_cannot_be_kept_are_hashed(ledger: Ledger, worker: LedgerWorker, name: str) -> None:
    grant = limited(ledger, user_limits={"requests_per_minute": 1}).claiming({"user": name})
    assert refused(worker, ledger.ask(grant)) == ""
    assert refused(worker, ledger.ask(grant)) != ""
    (hold,) = ledger.rows("SELECT user_key FROM holds")
    assert len(hold["user_key"]) < 100


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session_limits", {"budgets": {"usd": {"day": 5}}}),
        ("session_limits", {"requests_per_minute": 5}),
        ("user_limits", {"budgets": {"usd": {"total": 5}}}),
        ("user_limits", {"models": ["gpt-*"]}),
        ("address_limits", {"max_output_tokens": 5}),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(ledger: Ledger, field: str, value: object) -> None:
    with pytest.raises(Invalid, match=f"^{field}"):
        ledger.store.update_project("acme", **{field: limits.of(value)})  # type: ignore[arg-type]


def test_claims_go_back_when_a_call_does_not_go_up(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = limited(ledger, session_limits=SESSION).claiming({"session": "s1"})
    ask = ledger.ask(grant, tokens=100)
    assert refused(worker, ask) == ""
    worker.release(ask.call_id)
    assert refused(worker, ledger.ask(grant, tokens=100)) == ""


def test_budgets_of_users_are_reported(ledger: Ledger, worker: LedgerWorker) -> None:
    of_users = {"budgets": {"tokens": {"day": 100}}}
    grant = limited(ledger, user_limits=of_users, address_limits=of_users)
    ada = ledger.ask(grant.claiming({"user": "ada", "address": "192.0.2.7"}), tokens=60)
    assert refused(worker, ada) == ""
    assert refused(worker, ledger.ask(grant.claiming({"user": "bob"}), tokens=10)) == ""
    worker.finish([ledger.finished(ada, seq=1, total_tokens=50)], "w").result(WAIT)
    connection = engine_of(ledger.place).connect()
    rows = list(reports.budgets(connection, ledger.now, project_id=grant.project.id))
    tomorrow = list(reports.budgets(connection, ledger.now + 86400))
    connection.close()
    assert [(row["side"], row["name"], row["used"], row["held"], row["left"]) for row in rows] == [
        ("user", "ada", 50, 0, 50),
        ("address", "192.0.2.7", 50, 0, 50),
        ("user", "bob", 0, 10, 90),
    ]
    assert tomorrow == []


def test_a_budgets_day_is_that_of_its_time_zone(ledger: Ledger, worker: LedgerWorker) -> None:
    """NOON is 12:00 UTC: 01:00 of the next day in Auckland (in summer)."""
    grant = ledger.grant(budgets={"tokens": {"day": 100}}, time_zone="Pacific/Auckland")
    usual = ledger.grant(budgets={"tokens": {"day": 100}})
    calendar = grant.token.limits.calendar
    ledger.now = calendar.end("day", ledger.now) - 1800  # type: ignore[operator]
    for number, each in enumerate((grant, usual), 1):
        ask = ledger.ask(each, tokens=100)
        assert refused(worker, ask) == ""
        worker.finish([ledger.finished(ask, seq=number)], "w").result(WAIT)
    hit = worker.reserve(ledger.ask(grant, tokens=1)).result(WAIT).hit
    assert hit is not None
    assert hit.resets_at == ledger.now + 1800
    assert refused(worker, ledger.ask(usual, tokens=1))
    connection = engine_of(ledger.place).connect()
    full = {row["token"]: row["used"] for row in reports.budgets(connection, ledger.now)}
    assert full == {grant.token.id: 100, usual.token.id: 100}
    ledger.now += 1800
    assert refused(worker, ledger.ask(grant, tokens=100)) == "", "its next day has begun"
    assert refused(worker, ledger.ask(usual, tokens=1)), "that of UTC has not"
    left = {row["token"]: row["left"] for row in reports.budgets(connection, ledger.now)}
    connection.close()
    assert left == {grant.token.id: 0, usual.token.id: 0}


def test_marks_are_told_once_in_a_day_of_the_time_zone(ledger: Ledger, worker: LedgerWorker) -> None:
    told: list[str] = []
    worker.on_reached = lambda records: told.extend(str(one.resets_at) for one in records)
    grant = ledger.grant(budgets={"tokens": {"day": 100}}, time_zone="Asia/Tokyo")
    for number in range(1, 4):
        ask = ledger.ask(grant, tokens=50)
        worker.reserve(ask).result(WAIT)
        worker.finish([ledger.finished(ask, seq=number)], "w").result(WAIT)
        ledger.now += 86400 if number == 2 else 60
    ends = [grant.token.limits.calendar.end("day", ledger.now - days * 86400) for days in (1, 0)]
    assert len(told) == 4, "50, 80 and 100 % on the first day, 50 % on the next"
    assert len(set(told)) == len(set(ends)) == 2


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid, match="no known time zone"):
        limits.of({"time_zone": "Mars/Olympus"})

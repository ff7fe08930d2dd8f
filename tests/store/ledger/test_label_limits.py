"""Limits of each value of a label: of a pair of metadata that token, project or client states."""

from __future__ import annotations

import json
import time

import pytest

from addons.checks.limits.limit_errors import why_not
from store.audit.log import AuditLog
from store.audit.origin import NOBODY
from store.core.errors import Conflict, Invalid
from store.database.engines import engine_of
from store.ledger import LedgerWorker, ReservationRequest, assumed
from store.tokens import label_limits, limits
from store.tokens.amounts import parse_budget
from store.tokens.models import Grant
from store.usage import reports
from tests.store.ledger.conftest import Ledger

WAIT = 30
DAY = {"budgets": {"tokens": {"day": 100}}}


def refused(worker: LedgerWorker, ask: ReservationRequest) -> str:
    refusal = why_not(worker.reserve(ask).result(WAIT))
    return refusal.message if refusal else ""


def of_project(ledger: Ledger, **labels: object) -> None:
    ledger.store.update_project("acme", label_limits=label_limits.of(labels))


def token(ledger: Ledger, *, labels: dict[str, object] | None = None, **metadata: str) -> Grant:
    of = label_limits.of(labels or {})
    _, text = ledger.store.create_token("acme", label_limits=of, metadata=metadata)
    return ledger.again(text.reveal())


def subjects(ledger: Ledger, table: str = "spend") -> set[str]:
    rows = ledger.rows(f"SELECT subject FROM {table}")
    return {row["subject"] for row in rows if row["subject"].startswith("label:")}


def test_each_value_has_its_own_budget_over_all_tokens(ledger: Ledger, worker: LedgerWorker) -> None:
    of_project(ledger, team=DAY)
    one, two, other = token(ledger, team="a"), token(ledger, team="a"), token(ledger, team="b")
    first = ledger.ask(one, tokens=60)
    assert refused(worker, first) == ""
    said = refused(worker, ledger.ask(two, tokens=60))
    assert said.startswith("The label team=a's budget of 100 tokens per day does not allow this call")
    assert "It resets at " in said
    assert refused(worker, ledger.ask(other, tokens=60)) == ""
    worker.finish([ledger.finished(first, seq=1, total_tokens=90)], "w").result(WAIT)
    assert "90 tokens are used" in refused(worker, ledger.ask(two, tokens=20))
    assert refused(worker, ledger.ask(two, tokens=10)) == ""
    ledger.now += 86400
    assert refused(worker, ledger.ask(two, tokens=60)) == "", "of another day"


def test_rates_and_concurrent_calls_are_limited_too(ledger: Ledger, worker: LedgerWorker) -> None:
    of_project(ledger, team={"requests_per_minute": 2, "max_concurrent": 1})
    grant = token(ledger, team="a")
    ask = ledger.ask(grant)
    assert refused(worker, ask) == ""
    assert "The label team=a's limit of 1 calls at the same time" in refused(worker, ledger.ask(grant))
    worker.finish([ledger.finished(ask, seq=1)], "w").result(WAIT)
    assert refused(worker, ledger.ask(grant)) == ""
    assert "The label team=a's limit of 2 requests per minute" in refused(worker, ledger.ask(grant))


def test_a_claim_splits_what_the_token_may_use_and_never_escapes_it(
    ledger: Ledger, worker: LedgerWorker
) -> None:
    of_token = limits.of({"budgets": {"tokens": {"total": 150}}})
    labels = label_limits.of({"customer": DAY})
    _, text = ledger.store.create_token("acme", limits=of_token, label_limits=labels)
    grant = ledger.again(text.reveal())
    asks = [ledger.ask(grant.claiming({"label:customer": f"c{n}"}), tokens=60) for n in range(3)]
    said = [refused(worker, ask) for ask in asks]
    assert said[:2] == ["", ""]
    assert "The proxy token's budget of 150 tokens in all" in said[2]


def test_calls_without_the_label_share_one_budget(ledger: Ledger, worker: LedgerWorker) -> None:
    of_project(ledger, team=DAY)
    assert refused(worker, ledger.ask(token(ledger), tokens=60)) == ""
    said = refused(worker, ledger.ask(token(ledger), tokens=60))
    assert "The label team=(none)'s budget" in said


def test_what_the_token_says_is_no_clients_to_claim(ledger: Ledger, worker: LedgerWorker) -> None:
    of_project(ledger, team=DAY)
    grant = token(ledger, team="a")
    assert refused(worker, ledger.ask(grant, tokens=60)) == ""
    assert "team=a's" in refused(worker, ledger.ask(grant.claiming({"label:team": "b"}), tokens=60))
    ledger.store.update_project("acme", metadata={"team": "of the project"})
    assert "team=of the project's" in refused(worker, ledger.ask(token(ledger), tokens=101))


def test_all_labels_of_project_and_token_hold_beside_each_other(ledger: Ledger, worker: LedgerWorker) -> None:
    of_project(ledger, team=DAY, stage={"budgets": {"tokens": {"day": 80}}})
    of_token: dict[str, object] = {
        "customer": {"budgets": {"tokens": {"day": 60}}},
        "team": {"budgets": {"tokens": {"day": 40}}},
    }
    grant = token(ledger, labels=of_token, team="a", stage="live", customer="c1")
    hit = worker.reserve(ledger.ask(grant, tokens=41)).result(WAIT).hit
    assert hit is not None
    assert (hit.subject, hit.allowed) == (f"label:{grant.token.id}/team=a", 40)
    ask = ledger.ask(grant, tokens=40)
    assert refused(worker, ask) == ""
    worker.finish([ledger.finished(ask, seq=1)], "w").result(WAIT)
    project, id_ = grant.project.id, grant.token.id
    assert subjects(ledger) == {
        *(f"label:{project}/team=a", f"label:{project}/stage=live"),
        *(f"label:{id_}/customer=c1", f"label:{id_}/team=a"),
    }
    more = ledger.ask(token(ledger, team="a", stage="test"), tokens=61)
    assert "The label team=a's budget of 100 tokens" in refused(worker, more)


def test_a_hold_counts_when_the_labels_with_limits_change(ledger: Ledger, worker: LedgerWorker) -> None:
    of_project(ledger, team=DAY)
    assert refused(worker, ledger.ask(token(ledger, team="a", app="x"), tokens=60)) == ""
    of_project(ledger, app=DAY, team=DAY)
    assert "The label team=a's" in refused(worker, ledger.ask(token(ledger, team="a", app="x"), tokens=60))


def test_a_hold_grows_within_the_labels_budget_and_goes_back(ledger: Ledger, worker: LedgerWorker) -> None:
    of_project(ledger, team=DAY)
    grant = token(ledger, team="a")
    ask = ledger.ask(grant, tokens=60)
    assert refused(worker, ask) == ""
    assert worker.extend(ask.call_id, 90, 0).result(WAIT) is None
    hit = worker.extend(ask.call_id, 110, 0).result(WAIT)
    assert hit is not None
    assert hit.side == "label"
    worker.release(ask.call_id)
    assert refused(worker, ledger.ask(grant, tokens=100)) == ""


def test_what_values_used_in_periods_that_are_over_is_forgotten(ledger: Ledger, worker: LedgerWorker) -> None:
    of_project(ledger, team=DAY)
    grant = ledger.grant()
    for number in range(3):
        ask = ledger.ask(grant.claiming({"label:team": f"t{number}"}), tokens=60)
        grant = token(ledger)
        assert refused(worker, ask) == ""
        worker.finish([ledger.finished(ask, seq=number + 1)], "w").result(WAIT)
        ledger.top_up(f"label:{grant.project.id}/team=t{number}", "5tokens/day")
    assert len(subjects(ledger)) >= 2
    assert len(subjects(ledger, "topups")) == 3
    ledger.now += 70 * 86400
    worker.clean_up()
    worker.look(ledger.ask(grant)).result(WAIT)
    assert subjects(ledger) == subjects(ledger, "topups") == set()


@pytest.mark.parametrize("value", ["x" * 500, "a\nb\0", "sk-proj-0123456789abcdefghijklmnop", "\ud800"])
def test_values_that_cannot_be_kept_are_hashed(ledger: Ledger, worker: LedgerWorker, value: str) -> None:
    of_project(ledger, team={"requests_per_minute": 1})
    grant = token(ledger).claiming({"label:team": value})
    assert refused(worker, ledger.ask(grant)) == ""
    assert refused(worker, ledger.ask(grant)) != ""
    (hold,) = ledger.rows("SELECT label_1_key FROM holds")
    assert len(hold["label_1_key"]) < 100


def test_nothing_is_kept_of_labels_without_limits(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(requests_per_minute=5).claiming({"label:team": "a"})
    assert refused(worker, ledger.ask(grant)) == ""
    (hold,) = ledger.rows("SELECT label_1_key, label_2_key, label_3_key, label_4_key FROM holds")
    assert set(hold.values()) == {None}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": DAY, "b": DAY, "c": DAY}, "at most 2"),
        ({"a=b": DAY}, "without = and /"),
        ({"": DAY}, "1 to 64"),
        ({"team": {"budgets": {"usd": {"total": 5}}}}, "label_limits.team: use a period that begins anew"),
        ({"team": {"models": ["gpt-*"]}}, "label_limits.team.models"),
        ({"team": 5}, "write its limits as an object"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(ledger: Ledger, given: dict[str, object], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        of_project(ledger, **given)


def test_a_label_without_limits_is_dropped(ledger: Ledger) -> None:
    of_project(ledger, team=DAY, app={})
    assert set(ledger.store.get_project("acme").label_limits) == {"team"}


def test_a_value_is_topped_up_for_the_present_period(ledger: Ledger, worker: LedgerWorker) -> None:
    ledger.now = time.time()
    of_project(ledger, team=DAY)
    ledger.store.update_project("acme", user_limits=limits.of(DAY), address_limits=limits.of(DAY))
    project, grant = ledger.store.get_project("acme"), token(ledger, team="a")
    full = ledger.ask(grant.claiming({"user": "ada", "address": "192.0.2.7"}), tokens=100)
    assert refused(worker, full) == ""
    worker.finish([ledger.finished(full, seq=1)], "w").result(WAIT)
    again = [ledger.ask(full.grant, tokens=30) for _ in range(4)]
    names = ("user", "ada"), ("address", "192.0.2.7"), ("label", "team=a")
    for ask, (side, name) in zip(again, names, strict=False):
        assert refused(worker, ask)
        (gauge,) = ledger.store.top_up_claimed(project, side, name, parse_budget("30tokens/day"))  # type: ignore[arg-type]
        assert (gauge.name, gauge.allowed, gauge.used) == (name, 130, 100)
    assert refused(worker, again[3]) == ""
    with pytest.raises(Conflict, match=r"no budget usd/day to add to \(it has tokens/day\)"):
        ledger.store.top_up_claimed(project, "label", "team=a", parse_budget("5usd/day"))
    with pytest.raises(Conflict, match="label app has no budget"):
        ledger.store.top_up_claimed(project, "label", "app=a", parse_budget("5usd/day"))
    with pytest.raises(Invalid, match="such as team=search"):
        ledger.store.top_up_claimed(project, "label", "team", parse_budget("5usd/day"))
    rows = ledger.rows("SELECT action, after FROM audit WHERE action LIKE '%.topup' ORDER BY seq")
    found = [(row["action"], json.loads(row["after"])) for row in rows if row["after"]]
    assert found == [(f"{side}.topup", {side: name, "topup": "30tokens/day"}) for side, name in names]


def test_budgets_of_labels_are_reported(ledger: Ledger, worker: LedgerWorker) -> None:
    of_project(ledger, team=DAY)
    grant = token(ledger, labels={"team": {"budgets": {"tokens": {"day": 200}}}}, team="a")
    ask = ledger.ask(grant, tokens=60)
    assert refused(worker, ask) == ""
    assert refused(worker, ledger.ask(token(ledger), tokens=10)) == ""
    worker.finish([ledger.finished(ask, seq=1, total_tokens=50)], "w").result(WAIT)
    connection = engine_of(ledger.place).connect()
    rows = list(reports.budgets(connection, ledger.now, project_id=grant.project.id))
    tomorrow = list(reports.budgets(connection, ledger.now + 86400))
    connection.close()
    columns = ("side", "name", "token", "used", "held", "left")
    assert [tuple(row[column] for column in columns) for row in rows] == [
        ("label", "team=a", None, 50, 0, 50),
        ("label", "team=a", grant.token.id, 50, 0, 150),
        ("label", "team=(none)", None, 0, 10, 90),
    ]
    assert tomorrow == []


def test_any_number_of_values_is_reported_page_by_page(
    ledger: Ledger, worker: LedgerWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "CHUNK", 2)
    of_project(ledger, team=DAY)
    grant = token(ledger, labels={"app": DAY, "app-2": DAY})
    for number in range(7):
        ask = ledger.ask(grant.claiming({"label:team": f"t{number}", "label:app": f"a{number}"}), tokens=10)
        assert refused(worker, ask) == ""
        if number % 2:
            worker.finish([ledger.finished(ask, seq=number + 1)], "w").result(WAIT)
    connection = engine_of(ledger.place).connect()
    found = sorted(row["name"] for row in reports.budgets(connection, ledger.now))
    of_project(ledger)
    rest = {row["name"] for row in reports.budgets(connection, ledger.now)}
    connection.close()
    values = [f"{label}{number}" for label in ("app=a", "team=t") for number in range(7)]
    assert found == sorted([*values, "app-2=(none)"])
    assert not any(name.startswith("team=") for name in rest), "they have no limits any more"


def test_a_charge_that_is_put_right_is_so_for_the_label_too(ledger: Ledger, worker: LedgerWorker) -> None:
    of_project(ledger, team={"budgets": {"tokens": {"day": 1000}}})
    ask = ledger.ask(token(ledger, team="a"), tokens=300)
    assert refused(worker, ask) == ""
    died = {"outcome": "proxy_died", "total_tokens": 20, "nano_usd": 0, "at_least": True}
    worker.finish([ledger.finished(ask, seq=1, **died)], "w").result(WAIT)
    connection = engine_of(ledger.place).connect()
    columns = ("name", "used", "assumed")
    found = []
    for _ in range(2):
        (row,) = reports.budgets(connection, ledger.now)
        found.append(tuple(row[column] for column in columns))
        if len(found) == 1:
            assumed.settle(connection, AuditLog(connection, NOBODY), call_id=ask.call_id)
    connection.close()
    assert found == [("team=a", 300, 280), ("team=a", 20, 0)]

"""Limits on the command line."""

from __future__ import annotations

import json
import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from addons.explanation import route_of
from addons.openai.endpoints import KNOWN_NAMES, resolve
from store.database.engines import engine_of
from store.ledger import Finished, LedgerWorker, ReservationRequest
from store.tokens.amounts import NANO
from store.tokens.sqlite_lookup import TokenLookup
from tests.scripts.test_cli import KEY, Cli
from tests.store.engines import add_row


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    cli = Cli(tmp_path / "store.db")
    cli.json("project", "create", "acme", "--api-key", KEY, "--rpm", "600", "--max-requests", "50")
    return cli


def test_as_given_so_shown(cli: Cli) -> None:
    made = cli.json(
        *("token", "create", "--project", "acme", "--rpm", "60", "--tpm", "90000", "--max-concurrent", "4"),
        *("--budget", "5usd/day", "--budget", "100000tokens/month", "--model", "gpt-4o*", "--model", "o3"),
        *("--endpoint", "inference", "--max-output-tokens", "4096", "--network", "10.0.0.0/8"),
        *("--budget-mode", "strict", "--on-budget-end", "cut"),
    )
    assert made["limits"] == {
        "requests_per_minute": 60,
        "tokens_per_minute": 90000,
        "max_concurrent": 4,
        "budgets": {"usd": {"day": "5"}, "tokens": {"month": 100000}},
        "models": ["gpt-4o*", "o3"],
        "endpoints": ["inference"],
        "max_output_tokens": 4096,
        "networks": ["10.0.0.0/8"],
        "budget_mode": "strict",
        "on_budget_end": "cut",
    }
    changed = cli.json(
        *("token", "update", made["id"], "--rpm", "none", "--model", "o4*", "--network", "none"),
        *("--budget", "usd/day=none", "--budget", "0.5usd/hour", "--budget-mode", "none"),
    )
    assert changed["limits"] == {
        "tokens_per_minute": 90000,
        "max_concurrent": 4,
        "budgets": {"usd": {"hour": "0.50"}, "tokens": {"month": 100000}},
        "models": ["o4*"],
        "endpoints": ["inference"],
        "max_output_tokens": 4096,
        "on_budget_end": "cut",
    }
    replaced = cli.json("token", "update", made["id"], "--budget", "none", "--budget", "9usd/total")
    assert replaced["limits"]["budgets"] == {"usd": {"total": "9"}}
    project = cli.json("project", "update", "acme", "--rpm", "none", "--max-requests", "none")
    assert project["limits"] == {}


def test_use_is_shown_with_what_is_left_and_when_it_resets(cli: Cli, tmp_path: Path) -> None:
    made = cli.json(
        "token", "create", "--project", "acme", "--budget", "5usd/day", "--budget", "9usd/total", "--rpm", "9"
    )
    lookup = TokenLookup(tmp_path / "store.db")
    grant = lookup.find(made["token"])
    lookup.close()
    assert grant
    worker = LedgerWorker(engine_of(tmp_path / "store.db"))
    for number in (1, 2):
        assert worker.reserve(ReservationRequest(f"call-{number}", grant, 10, NANO)).result(30).hit is None
    over = Finished("call-1", grant.token.id, grant.project.id, time.time(), "ok", "chat", seq=1)
    worker.finish([over], "w").result(30)
    worker.close()

    rows = cli.json("token", "show", made["id"])["use"]
    use = {(row["side"], row["limit"]): row for row in rows}
    day = use["token", "usd/day"]
    assert {name: day[name] for name in ("allowed", "used", "held", "left")} == {
        "allowed": "5",
        "used": "1",
        "held": "1",
        "left": "3",
    }
    assert day["resets_at"].endswith("T00:00:00.000Z")
    assert use["token", "usd/total"]["resets_at"] is None
    assert use["token", "requests_per_minute"]["left"] == 7
    assert use["project", "max_requests"]["left"] == 48
    assert [row["limit"] for row in cli.json("project", "show", "acme")["use"]] == [
        "max_requests",
        "requests_per_minute",
    ]
    shown = cli.run("token", "show", made["id"]).output
    assert "limits" in shown
    assert "budgets/usd/day=5 budgets/usd/total=9" in shown
    assert shown.splitlines()[-1].startswith("project")


def test_limits_of_labels(cli: Cli) -> None:
    made = cli.json(
        *(
            "token",
            "create",
            "--project",
            "acme",
            "--label-budget",
            "team=5usd/day",
            "--label-rpm",
            "team=60",
        ),
        *("--label-budget", "customer=1000tokens/week", "--label-week-start", "customer=sunday"),
        *("--label-budget-zone", "customer=Europe/Berlin", "--header-metadata", "customer"),
    )
    team = {"budgets": {"usd": {"day": "5"}}, "requests_per_minute": 60}
    zone = {"time_zone": "Europe/Berlin", "week_start": "sunday"}
    assert made["label_limits"] == {
        "team": team,
        "customer": {"budgets": {"tokens": {"week": 1000}}, **zone},
    }
    changed = cli.json(
        *("token", "update", made["id"], "--label-budget", "team=usd/day=none", "--label-rpm", "team=none"),
        *("--label-budget", "customer=9usd/day"),
    )
    assert changed["label_limits"] == {
        "customer": {"budgets": {"usd": {"day": "9"}, "tokens": {"week": 1000}}, **zone}
    }
    changed = cli.json("project", "update", "acme", "--label-max-concurrent", "team=2")
    assert changed["label_limits"] == {"team": {"max_concurrent": 2}}
    for given, said in (
        ("customer", "such as team=5usd/day"),
        ("customer=5usd", "write 5usd/day"),
        ("customer=5usd/total", "a period that begins anew"),
        ("a/b=5usd/day", "without = and /"),
    ):
        result = cli.run("token", "update", made["id"], "--label-budget", given)
        assert result.exit_code == 2
        assert said in " ".join(result.output.split())
    rows = "project,label_budget,label_rpm\nacme,team=5usd/day team=7usd/month,team=60\nacme,,\n"
    cli.run("token", "import", "-", stdin=rows)
    found = [row["label_limits"] for row in cli.json("token", "list", "--project", "acme")]
    assert found[1:] == [
        {"team": {"budgets": {"usd": {"day": "5", "month": "7"}}, "requests_per_minute": 60}},
        {},
    ]


def test_users_and_labels_are_topped_up(cli: Cli) -> None:
    made = cli.json("token", "create", "--project", "acme", "--label-budget", "customer=1usd/day")
    cli.json("project", "update", "acme", "--user-budget", "2usd/day", "--address-budget", "3usd/day")
    for arguments, name, allowed in (
        (("project", "topup", "acme", "1usd/day", "--user", "ada"), "ada", "3"),
        (("project", "topup", "acme", "1usd/day", "--user", "ada"), "ada", "4"),
        (("project", "topup", "acme", "1usd/day", "--address", "192.0.2.7"), "192.0.2.7", "4"),
        (("token", "topup", made["id"], "1usd/day", "--label", "customer=c1"), "customer=c1", "2"),
    ):
        (use,) = cli.json(*arguments)
        assert (use["name"], use["limit"], use["allowed"]) == (name, "usd/day", allowed)
    for arguments, code, said in (
        (("project", "topup", "acme", "1usd/month", "--user", "ada"), 1, "no budget usd/month"),
        (
            ("project", "topup", "acme", "1usd", "--user", "ada", "--label", "a=b"),
            2,
            "one of --user, --label",
        ),
        (("token", "topup", made["id"], "1usd/day", "--label", "customer"), 2, "such as team=search"),
        (("token", "topup", made["id"], "1usd/day", "--user", "ada"), 2, "No such option"),
        (("token", "topup", made["id"], "much"), 2, "budget 'much': write 5usd/day or"),
    ):
        result = cli.run(*arguments)
        assert (result.exit_code, said in " ".join(result.output.split())) == (code, True), result.output


def test_topups_add_to_a_budget_that_is_there(cli: Cli) -> None:
    token = cli.json("token", "create", "--project", "acme", "--budget", "5usd/day", "--budget", "0usd/total")
    for amount, limit, allowed in (
        ("2usd/day", "usd/day", "7"),
        ("2.50usd", "usd/total", "2.50"),
        ("1usd", "usd/total", "3.50"),
    ):
        use = cli.json("token", "topup", token["id"], amount)["use"]
        assert {row["limit"]: row["allowed"] for row in use}[limit] == allowed
    result = cli.run("token", "topup", token["id"], "5usd/month")
    assert result.exit_code == 1
    assert "no budget usd/month" in result.output
    cli.json("project", "update", "acme", "--budget", "1usd/total")
    use = cli.json("project", "topup", "acme", "1usd")["use"]
    assert use[-1]["allowed"] == "2"
    log = json.loads(cli.run("audit", "list", "--json", "--action", "token.topup").output)
    assert [row["outcome"] for row in log] == ["failure", "success", "success", "success"]
    assert log[1]["after"] == {"topup": "1usd/total"}


def test_explain_says_what_the_gate_would(cli: Cli, tmp_path: Path) -> None:
    token = cli.json(
        *("token", "create", "--project", "acme", "--budget", "1usd/day", "--max-concurrent", "3"),
        *("--model", "gpt-4o*", "--network", "10.0.0.0/8", "--max-output-tokens", "2000"),
    )["id"]

    def explained(*arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = cli.json("token", "explain", token, *arguments)
        return answer

    passes = explained("--model", "gpt-4o")
    assert (passes["allowed"], passes["refusal"], passes["client"]) == (True, None, "10.0.0.0")
    day = next(row for row in passes["limits"] if row["limit"] == "usd/day")
    assert Decimal(day["asks"]) == Decimal(passes["holds"]["usd"]) > 0
    most = Decimal(passes["at_most"]["usd"])
    assert Decimal(day["may_exceed_by"]) == 3 * (most - Decimal(day["asks"])) > 0

    for arguments, status, code in (
        (("--model", "o3"), 404, "model_not_found"),
        ((), 404, "model_not_found"),
        (("--model", "gpt-4o", "--client", "192.0.2.1"), 403, "network_not_allowed"),
    ):
        refused = explained(*arguments)
        assert refused["allowed"] is False
        assert (refused["refusal"]["status"], refused["refusal"]["code"]) == (status, code)

    cli.json("token", "update", token, "--budget-mode", "strict")
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"model": "gpt-4o", "messages": [], "max_tokens": 100}))
    strict = explained("--body", str(body))
    assert strict["holds"] == strict["at_most"]
    assert {row["may_exceed_by"] for row in strict["limits"] if "/" in row["limit"]} == {"0"}
    cli.json("token", "update", token, "--budget", "0.000001usd/day")
    refused = explained("--body", str(body))
    assert refused["refusal"]["code"] == "insufficient_quota"
    assert "resets at" in refused["refusal"]["message"].lower()
    assert "no: 429" in cli.run("token", "explain", token, "--body", str(body)).output
    cli.json("token", "revoke", token)
    assert explained("--model", "gpt-4o")["refusal"]["code"] == "invalid_api_key"
    assert cli.run("token", "explain", token, "--endpoint", "chats").exit_code == 2
    assert cli.run("token", "explain", "unknown").exit_code == 1


def test_explain_goes_by_what_such_calls_have_used(cli: Cli, tmp_path: Path) -> None:
    token = cli.json("token", "create", "--project", "acme", "--budget", "9usd/day")
    connection = engine_of(tmp_path / "store.db").connect()
    key = {"hour": int(time.time()) // 3600 - 5, "project_id": token["project_id"], "token_id": token["id"]}
    named = {"user_id": "", "model": "gpt-4o-2024-08-06", "endpoint": "chat"}
    used = {"calls": 10, "total_tokens": 3000, "nano_usd": 40_000_000}
    add_row(connection, "usage_hours", key | named, used)
    connection.close()
    holds = cli.json("token", "explain", token["id"], "--model", "gpt-4o")["holds"]
    assert holds == {"tokens": 600, "usd": "0.008"}, "twice the average"


@pytest.mark.parametrize("name", sorted(KNOWN_NAMES - {"other"}))
def test_every_endpoint_can_be_asked_about(name: str) -> None:
    method, path, endpoint, websocket = route_of(name)
    assert endpoint.name == name
    assert resolve(method, path, upgrade=websocket).name == name
    assert re.fullmatch(r"[A-Z]+ /v1/[a-z_/]*", f"{method} {path}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rpm", "0"), "'0'"),
        (("--max-concurrent", "many"), "'many'"),
        (("--budget", "5eur/day"), "'5eur/day'"),
        (("--budget", "5usd"), "5usd/day"),
        (("--budget", "usd/year=none"), "usd/year=none"),
        (("--endpoint", "chats"), "docs/endpoints.md"),
        (("--network", "10.0.0.1/8"), "10.0.0.1/8"),
        (("--budget-mode", "lax"), "expected"),
    ],
)
def test_a_bad_value_is_wrong_usage(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    for command in (("token", "create", "--project", "acme"), ("project", "update", "acme")):
        result = cli.run(*command, *arguments)
        assert result.exit_code == 2
        assert said in result.output
        assert "Traceback" not in result.output


def test_a_file_of_tokens_with_limits(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text(
        "rpm,budget,model,endpoint,budget_mode,metadata.team\n"
        "5,5usd/day 100usd/month,gpt-4o* o3,inference models,strict,a\n"
        ",,,,,b\n"
    )
    first, second = cli.json("token", "import", str(file), "--project", "acme")
    assert first["limits"] == {
        "requests_per_minute": 5,
        "budgets": {"usd": {"day": "5", "month": "100"}},
        "models": ["gpt-4o*", "o3"],
        "endpoints": ["inference", "models"],
        "budget_mode": "strict",
    }
    assert second["limits"] == {}
    file.write_text("budget,rpm\n5usd/day,x\n")
    result = cli.run("token", "import", str(file), "--project", "acme")
    assert result.exit_code == 2
    assert "line 2" in result.output


def test_assumed_charges_are_put_right(cli: Cli) -> None:
    assert cli.json("budget", "settle", "--died") == []
    for arguments, code, said in (
        (["no-such-call"], 1, "not charged with an assumption"),
        ([], 2, "give CALL, or --died"),
        (["x", "--died"], 2, "give CALL, or --died"),
        (["--died", "--tokens", "5"], 2, "for one CALL"),
        (["x", "--usd", "much"], 2, "use a number"),
    ):
        result = cli.run("budget", "settle", *arguments)
        assert (result.exit_code, said in result.output) == (code, True), result.output

"""``llmproxy sessions`` and ``llmproxy session``, on a store and a spool with three calls."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from store.core.event import UsageEvent
from store.core.event_fields import read_record, to_fields
from store.database.engines import engine_of
from store.ledger import LedgerWorker, ReservationRequest
from store.ledger.finished import finished_of
from store.tokens.sqlite_lookup import TokenLookup
from tests.scripts.test_cli import KEY, Cli

CALL = {"type": "function_call", "name": "ls", "arguments": "{}"}


def call(number: int, token: dict[str, Any], **fields: Any) -> dict[str, Any]:
    event = {
        **to_fields(UsageEvent()),
        "event_id": f"0190-{number}",
        "timestamp": f"2026-05-01T12:00:0{number}.000Z",
        "outcome": "ok",
        "endpoint": "responses",
        "project_id": token["project_id"],
        "token_id": token["id"],
        "session": {"id": "s1", "thread": "root", "source": "user"},
        "usage": {"input_tokens": 9, "output_tokens": 1, "total_tokens": 10},
        "cost": {"usd": "0.5", "price_source": "test"},
        "response": {"body": {"output": [{**CALL, "id": f"fc_{number}", "call_id": f"c_{number}"}]}},
        "writer": "w1",
        "seq": number,
    }
    return event | fields


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    cli = Cli(tmp_path / "store.db")
    cli.json("project", "create", "acme", "--api-key", KEY)
    return cli


def test_a_session_from_its_first_call_to_its_top_up(cli: Cli, tmp_path: Path) -> None:
    token = cli.json("token", "create", "--project", "acme", "--session-budget", "1usd")
    assert token["session_limits"] == {"budgets": {"usd": {"total": "1"}}}
    lookup = TokenLookup(tmp_path / "store.db")
    grant = lookup.find(token["token"])
    lookup.close()
    assert grant is not None
    worker = LedgerWorker(engine_of(tmp_path / "store.db"))
    events = [
        call(1, token),
        call(2, token, session={"id": "s1", "thread": "sub", "source": "subagent"}),
        call(3, token, response={"body": {"output": [{"type": "message", "content": "done"}]}}, retry=1),
        call(4, token, session={"id": "s2"}),
    ]
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "w1.host.1.000001.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    claiming = grant.claiming({"session": "s1"})
    for event in events[:2]:
        ask = ReservationRequest(event["event_id"], claiming, 10, 500_000_000)
        assert worker.reserve(ask).result(30).hit is None
    worker.finish([finished_of(read_record(event, UsageEvent)) for event in events], "w1").result(30)
    assert worker.reserve(ReservationRequest("next", claiming, 10, 500_000_000)).result(30).hit

    listed = cli.json("sessions", "list")
    assert {(row["session"], row["calls"], row["tokens"], row["usd"]) for row in listed} == {
        ("s1", 3, 30, "1.5"),
        ("s2", 1, 10, "0.5"),
    }
    assert cli.json("report", "usage", "--by", "session", "--token", token["id"]) == listed
    printed = cli.run("report", "usage", "--by", "session", "--csv").output
    assert [(row["session"], row["usd"]) for row in csv.DictReader(io.StringIO(printed))] == [
        (row["session"], row["usd"]) for row in listed
    ]
    assert cli.run("report", "usage", "--by", "session", "--by", "day").exit_code == 2
    shown = cli.json("sessions", "show", "s1", "--spool", str(spool))
    assert [one["event_id"] for one in shown["calls"]] == ["0190-1", "0190-2", "0190-3"]
    assert (shown["usd"], shown["repeated"], shown["retries"], shown["whole"]) == ("1.5", 1, 1, True)
    assert [(one["thread"], one["source"], one["calls"], one["usd"]) for one in shown["threads"]] == [
        ("root", "user", 2, "1.0"),
        ("sub", "subagent", 1, "0.5"),
    ]
    assert shown["use"][0]["left"] == "0"

    (use,) = cli.json("session", "topup", f"{token['id']}/s1", "5usd")
    assert (use["allowed"], use["used"]) == ("6", "1")
    assert worker.reserve(ReservationRequest("then", claiming, 10, 500_000_000)).result(30).hit is None
    worker.close()

"""``llmproxy audit``."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from store.audit.log import Entry
from store.audit.origin import NOBODY
from store.tokens.store import TokenStore
from tests.scripts.test_cli import KEY, Cli


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.delenv("LLMPROXY_ACTOR", raising=False)
    return Cli(tmp_path / "store.db")


@pytest.fixture
def filled(cli: Cli) -> Cli:
    """A project, two tokens, of which one is revoked, an attempt that failed and a refusal: 6 rows."""
    cli.json("project", "create", "acme", "--api-key", KEY)
    made = [cli.json("token", "create", "--project", "acme", "--metadata", "team=a") for _ in range(2)]
    cli.json("token", "revoke", made[0]["id"])
    assert cli.run("token", "revoke", "no-such").exit_code == 1
    store = TokenStore.open(cli.store)
    refused = Entry("auth.refused", "refused", reason="unknown", count=7, since=1, at=50, origin=NOBODY)
    with store._connection.transaction():
        store.audit.add(refused)
    store.close()
    return cli


def sql(cli: Cli, statement: str) -> None:
    with closing(sqlite3.connect(cli.store)) as connection, connection:
        connection.execute(statement)


def test_list(filled: Cli) -> None:
    rows = filled.json("audit", "list")
    assert [row["action"] for row in rows] == [
        "auth.refused",
        "token.revoke",
        "token.revoke",
        "token.create",
        "token.create",
        "project.create",
    ]
    assert [row["outcome"] for row in rows[:3]] == ["refused", "failure", "success"]
    assert rows[0]["since"] == "1970-01-01T00:00:01Z"
    assert rows[3]["after"] == {"active": True, "metadata": {"team": "a"}}
    assert rows[2]["token_id"] == rows[4]["token_id"]
    assert rows[0]["actor"] is None
    assert rows[1]["actor"].startswith("os:")
    assert "hash" not in rows[0]
    table = filled.run("audit", "list", "--limit", "3")
    assert "active=true→false" in table.stdout
    assert len(table.stdout.splitlines()) == 4


def test_list_filters(filled: Cli) -> None:
    def count(*options: str) -> int:
        return len(filled.json("audit", "list", *options))

    token = filled.json("token", "list")[0]["id"]
    assert count("--action", "token") == 4
    assert count("--action", "token", "--outcome", "failure") == 1
    assert count("--token", token) == 2
    assert count("--project", "acme") == 4
    assert count("--reason", "unknown") == 1
    assert count("--address", "192.0.2.1") == 0
    assert count("--actor", "os:") == 5
    assert count("--since", "1h") == 5
    assert count("--until", "1h") == 1
    assert filled.run("audit", "list", "--project", "other").exit_code == 1
    assert "no such rows" in filled.run("audit", "list", "--action", "tokens").stderr


def test_the_actor_that_is_claimed(cli: Cli) -> None:
    cli.run("--actor", "jane@example.com", "project", "create", "acme", "--api-key", KEY)
    cli.run("project", "deactivate", "acme", env={"LLMPROXY_ACTOR": "deploy"})
    claims = [row["actor"].split(" claim:")[1] for row in cli.json("audit", "list")]
    assert claims == ["deploy", "jane@example.com"]
    assert len(cli.json("audit", "list", "--actor", "jane")) == 1


def test_verify(filled: Cli) -> None:
    verdict = filled.json("audit", "verify")
    assert (verdict["whole"], verdict["rows"], verdict["first"], verdict["faults"]) == (True, 6, 1, [])
    assert verdict["head"].startswith("6:")
    assert "6" in filled.run("audit", "verify").stdout


def test_verify_names_what_is_wrong(filled: Cli) -> None:
    sql(filled, "UPDATE audit SET actor = 'os:mallory@x' WHERE seq = 2")
    sql(filled, "DELETE FROM audit WHERE seq = 4")
    sql(filled, "DELETE FROM audit WHERE seq = 6")
    result = filled.run("audit", "verify")
    assert result.exit_code == 1
    named = [line.partition(": ") for line in result.stderr.splitlines()]
    assert [(rows, rest.split(":")[0]) for rows, _, rest in named] == [
        ("row 2", "changed"),
        ("row 4", "missing"),
        ("row 6", "cut"),
    ]
    as_json = filled.run("audit", "verify", "--json")
    assert as_json.exit_code == 1
    assert [fault["first"] for fault in json.loads(as_json.stdout)["faults"]] == [2, 4, 6]


def test_verify_with_a_noted_head(filled: Cli, tmp_path: Path) -> None:
    notes = tmp_path / "heads"
    first = filled.json("audit", "verify")["head"]
    notes.write_text(f"{first}\n")
    filled.json("project", "deactivate", "acme")
    assert filled.json("audit", "verify", "--head", str(notes), "--head", first)["compared"] == 1
    events = tmp_path / "events.jsonl"
    events.write_text(
        json.dumps({"type": "llm_proxy_audit", "head": first}) + '\n{"type": "llm_proxy_usage"}\n'
    )
    assert filled.json("audit", "verify", "--head", str(events))["compared"] == 1
    other = f"7:{'0' * 64}"
    assert filled.run("audit", "verify", "--head", other).exit_code == 1
    events.write_text('{"type": "llm_proxy_usage"}\n[]\n')
    for wrong in ("7", "nowhere", str(tmp_path), str(events)):
        assert filled.run("audit", "verify", "--head", wrong).exit_code == 2


def test_export_is_verified_without_the_store(filled: Cli, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    assert filled.run("audit", "export", str(file)).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    printed = filled.run("audit", "export").stdout
    assert printed == file.read_text()
    elsewhere = Cli(tmp_path / "none.db")
    verdict = elsewhere.json("audit", "verify", "--file", str(file), "--head", str(file))
    assert (verdict["whole"], verdict["rows"], verdict["compared"]) == (True, 6, 1)
    assert elsewhere.run("audit", "verify", "--file", "-", stdin=printed).exit_code == 0
    assert filled.run("audit", "verify", "--head", str(file)).exit_code == 0
    assert filled.run("audit", "export", str(file)).exit_code == 1, "no evidence is written over"


def test_damaged_exports_are_told(filled: Cli) -> None:
    lines = filled.run("audit", "export").stdout.splitlines()

    def verified(some: list[str]) -> str:
        result = filled.run("audit", "verify", "--file", "-", stdin="\n".join(some))
        assert result.exit_code == 1
        return result.stderr

    assert "row 3: missing" in verified([*lines[:2], *lines[3:]])
    assert "row 1: changed" in verified([lines[0].replace("acme", "evil"), *lines[1:]])
    assert "row 6: cut" in verified(lines[:-1])
    assert "rows 5 to 6: cut" in verified([*lines[:4], lines[-1]])
    assert "row 2: reordered" in verified([lines[0], lines[2], lines[1], *lines[3:]])
    assert "line 2: this is no row" in verified([lines[0], "[" * 100_000])
    assert "line 8: there is something behind the head" in verified([*lines, lines[0]])


def test_a_part_is_exported(filled: Cli) -> None:
    part = filled.run("audit", "export", "--after", "3").stdout
    assert [json.loads(line).get("seq") for line in part.splitlines()] == [4, 5, 6, None]
    result = filled.run("audit", "verify", "--file", "-", "--json", stdin=part)
    assert json.loads(result.stdout)["first"] == 4
    assert result.exit_code == 0


def test_prune(filled: Cli) -> None:
    assert filled.json("audit", "prune", "--before", "1h")["rows"] == 0, (
        "row 6 is older, but behind newer ones"
    )
    done = filled.json("audit", "prune", "--before", "2099-01-01")
    assert (done["through"], done["rows"]) == (6, 6)
    verdict = filled.json("audit", "verify")
    assert (verdict["whole"], verdict["rows"], verdict["first"]) == (True, 1, 7)
    assert filled.json("audit", "list")[0]["after"] == done


def test_a_log_that_is_not_whole_is_not_pruned(filled: Cli) -> None:
    sql(filled, "DELETE FROM audit WHERE seq = 2")
    result = filled.run("audit", "prune", "--before", "2099-01-01")
    assert result.exit_code == 1
    assert "row 2: missing" in result.stderr
    assert len(filled.json("audit", "list")) == 5

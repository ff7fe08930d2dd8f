"""``llmproxy token rotate|import|revoke`` on many tokens."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from store.tokens.sqlite_lookup import TokenLookup
from tests.scripts.test_cli import KEY, Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    cli = Cli(tmp_path / "store.db")
    cli.json("project", "create", "acme", "--api-key", KEY)
    return cli


def known(cli: Cli, text: str) -> str | None:
    lookup = TokenLookup(cli.store)
    grant = lookup.find(text)
    lookup.close()
    return grant.token.id if grant else None


def test_rotate(cli: Cli) -> None:
    made = cli.json("token", "create", "--project", "acme", "--max-requests", "7")
    rotated = cli.json("token", "rotate", made["id"], "--overlap", "2h")
    assert rotated["token"] != made["token"]
    assert (rotated["id"], rotated["max_requests"]) == (made["id"], 7)
    assert rotated["previous_prefix"] == made["prefix"]
    left = datetime.fromisoformat(rotated["previous_ends_at"]) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=59) < left <= timedelta(hours=2)
    assert known(cli, made["token"]) == known(cli, rotated["token"]) == made["id"]
    for arguments, said in ((("--overlap", "soon"), "write 90d"), (("--overlap", "20w"), "0 to 90 days")):
        result = cli.run("token", "rotate", made["id"], *arguments)
        assert result.exit_code == 2
        assert said in result.stderr


def test_prefix(cli: Cli) -> None:
    assert cli.json("token", "create", "--project", "acme", "--prefix", "acme-")["token"].startswith("acme-")
    result = cli.run("token", "create", "--project", "acme", env={"LLMPROXY_TOKEN_PREFIX": "team_"})
    assert result.stdout.split()[1].startswith("team_")
    result = cli.run("token", "create", "--project", "acme", "--prefix", "no end")
    assert result.exit_code == 2
    assert "token prefix 'no end'" in result.stderr


def test_import(cli: Cli, tmp_path: Path) -> None:
    cli.json("project", "create", "other", "--api-key", KEY)
    file = tmp_path / "people.csv"
    file.write_text(
        "project,expires,max_requests,metadata.user_id,metadata.team\n"
        ',30d,10,ada,"search, and ads"\nother,,,bob,\n',
        encoding="utf-8-sig",  # as spreadsheets write it
    )
    result = cli.run("token", "import", str(file), "--project", "acme")
    assert result.exit_code == 0, result.output
    first, second = csv.DictReader(io.StringIO(result.stdout))
    assert (first["metadata.user_id"], first["metadata.team"]) == ("ada", "search, and ads")
    assert known(cli, first["token"]) == first["id"]
    assert known(cli, second["token"]) == second["id"]
    ada, bob = cli.json("token", "show", first["id"]), cli.json("token", "show", second["id"])
    assert (ada["max_requests"], ada["metadata"]) == (10, {"user_id": "ada", "team": "search, and ads"})
    assert ada["expires_at"]
    assert (bob["max_requests"], bob["expires_at"], bob["metadata"]) == (None, None, {"user_id": "bob"})
    assert bob["project_id"] == cli.json("project", "show", "other")["id"]
    as_json = cli.json("token", "import", "-", stdin="project\nacme\nacme\n")
    assert [known(cli, made["token"]) for made in as_json] == [made["id"] for made in as_json]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("project,expire\nacme,30d\n", 2, "column 'expire': use project, "),
        ("project,project\nacme,acme\n", 2, "twice"),
        ("project,expires\nacme,30d\nacme,soon\n", 2, "line 3 of"),
        ("project,max_requests\nacme,many\n", 2, "max_requests 'many'"),
        ("project,max_requests\nacme,-1\n", 2, "max_requests '-1'"),
        ("project\nacme,x\n", 2, "not as many fields"),
        ("project,expires\nacme\n", 2, "not as many fields"),
        ("expires\n30d\n", 2, "names no project"),
        ("project\n", 2, "no rows"),
        ("", 2, "no rows"),
        ("project,metadata.k\nacme," + "v" * 600 + "\n", 2, "line 2 of"),
        ("project\nacme\nnobody\n", 1, "no project 'nobody'"),
    ],
)
def test_a_file_with_a_fault_makes_no_token(cli: Cli, text: str, code: int, said: str) -> None:
    result = cli.run("token", "import", "-", stdin=text)
    assert result.exit_code == code, result.output
    assert said in result.stderr.splitlines()[-1]
    assert cli.json("token", "list") == []


def test_revoke_many(cli: Cli) -> None:
    ids = [
        cli.json("token", "create", "--project", "acme", "--metadata", f"team={team}")["id"]
        for team in ("ads", "ads", "search")
    ]
    criteria = ("--project", "acme", "--metadata", "team=ads")
    assert len(cli.json("token", "revoke", *criteria, "--dry-run")) == 2
    assert all(token["active"] for token in cli.json("token", "list"))
    assert cli.json("token", "revoke", *criteria, "--older-than", "1d") == []
    revoked = cli.json("token", "revoke", *criteria)
    assert [(token["id"], token["active"]) for token in revoked] == [(ids[0], False), (ids[1], False)]
    assert cli.json("token", "revoke", *criteria) == []
    assert [token["active"] for token in cli.json("token", "list")] == [False, False, True]
    assert cli.json("token", "revoke", "--unused-for", "0s")[0]["id"] == ids[2]


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("some-id", "--project", "acme")])
def test_revoke_needs_to_know_which(cli: Cli, arguments: tuple[str, ...]) -> None:
    result = cli.run("token", "revoke", *arguments)
    assert result.exit_code == 2
    assert "give either the ID" in result.stderr

"""Management tokens on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.scripts.test_cli import KEY, Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    cli = Cli(tmp_path / "store.db")
    cli.json("project", "create", "acme", "--api-key", KEY)
    return cli


def test_made_listed_and_revoked(cli: Cli) -> None:
    made = cli.json("management-token", "create", "finance", "--role", "read")
    text = made.pop("token")
    assert text.startswith("llmp-mgmt-")
    ends = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < ends <= timedelta(days=90)
    team = cli.json(
        *(
            "management-token",
            "create",
            "team",
            "--role",
            "project",
            "--project",
            "acme",
            "--expires",
            "never",
        )
    )
    assert (team["expires_at"], len(team["projects"])) == (None, 1)
    assert team.pop("token").startswith("llmp-mgmt-")
    assert cli.json("management-token", "list") == [made, team]
    listed = cli.run("management-token", "list")
    assert text not in listed.output
    revoked = cli.json("management-token", "revoke", "finance")
    assert (revoked["active"], revoked["revoked_at"] is not None) == (False, True)
    assert [row["action"] for row in cli.json("audit", "list", "--action", "management_token")] == [
        "management_token.revoke",
        "management_token.create",
        "management_token.create",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("create", "x", "--role", "root"), 2, "root"),
        (("create", "x", "--role", "project"), 2, "say which"),
        (("create", "x", "--role", "read", "--project", "acme"), 2, "say which"),
        (("create", "x", "--role", "project", "--project", "none"), 1, "none"),
        (("create", "x", "--expires", "2020-01-01"), 2, "in the past"),
        (("revoke", "none"), 1, "management-token list"),
    ],
)
def test_errors_are_one_line(cli: Cli, arguments: tuple[str, ...], code: int, said: str) -> None:
    result = cli.run("management-token", *arguments)
    assert result.exit_code == code, result.output
    assert said in result.output
    assert "Traceback" not in result.output

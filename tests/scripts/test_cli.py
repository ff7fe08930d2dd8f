from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from scripts.cli import COMMANDS, main
from store.core.version import llmproxy_version
from store.tokens.sqlite_lookup import TokenLookup
from store.tokens.store import TokenStore

KEY = "sk-live-1234567890"


class Cli:
    """The command line on a store of its own."""

    def __init__(self, store: Path) -> None:
        self.store = store

    def run(self, *arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> Result:
        return CliRunner().invoke(main, ["--store", str(self.store), *arguments], input=stdin, env=env)

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        result = self.run(*arguments, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "store.db")


@pytest.fixture
def with_project(cli: Cli) -> Cli:
    cli.json("project", "create", "acme", "--api-key", KEY)
    return cli


def test_project_verbs(cli: Cli) -> None:
    made = cli.json("project", "create", "acme", "--api-key", KEY)
    dates = {"created_at", "updated_at"}
    labels = {"metadata", "header_metadata", "cache", "parameters", "origins"}
    lives = {"token_lifetime", "token_max_lifetime", "deactivated_at"}
    assert set(made) == {"id", "name", "active", "is_active", "key", "limits", *dates, *labels, *lives} | {
        f"{side}_limits" for side in ("session", "user", "address", "label")
    }
    assert (made["name"], made["active"]) == ("acme", True)
    assert cli.json("project", "list") == [made]
    shown = {**made, "use": []}
    assert cli.json("project", "show", made["id"]) == cli.json("project", "show", "acme") == shown
    assert cli.json("project", "update", "acme", "--name", "Acme")["name"] == "Acme"
    assert cli.json("project", "deactivate", made["id"])["active"] is False
    assert cli.json("project", "activate", "Acme")["active"] is True


def test_a_damaged_row_is_named_and_the_others_are_shown(with_project: Cli) -> None:
    first, second = (with_project.json("token", "create", "--project", "acme")["id"] for _ in range(2))
    with sqlite3.connect(with_project.store) as connection:
        connection.execute("UPDATE tokens SET metadata = 'not json' WHERE id = ?", [first])
    result = with_project.run("token", "list", "--json")
    assert [token["id"] for token in json.loads(result.stdout)] == [second]
    assert f"token {first}: metadata cannot be read" in result.stderr
    shown = with_project.run("token", "show", first)
    assert (shown.exit_code, "Traceback" in shown.output) == (1, False)
    assert f"token {first}: metadata cannot be read" in shown.stderr


def test_key_from_standard_input(cli: Cli) -> None:
    cli.json("project", "create", "acme", "--api-key", "-", stdin=f"{KEY}\n")
    store = TokenStore.open(cli.store)
    assert store.api_key("acme").reveal() == KEY
    store.close()


def test_token_verbs(with_project: Cli) -> None:
    cli = with_project
    made = cli.json(
        *("token", "create", "--project", "acme", "--metadata", "team=search", "--metadata", "env=a=b"),
        *("--expires", "30d", "--max-requests", "5"),
    )
    text = made.pop("token")
    assert text.startswith(made["prefix"])
    assert made["metadata"] == {"team": "search", "env": "a=b"}
    assert (made["max_requests"], made["request_count"], made["active"]) == (5, 0, True)
    expires = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < expires <= timedelta(days=30)
    assert cli.json("token", "list") == cli.json("token", "list", "--project", "acme") == [made]
    shown = cli.json("token", "show", made["id"])
    assert [row["limit"] for row in shown.pop("use")] == ["max_requests"]
    assert shown == made

    changed = cli.json("token", "update", made["id"], "--metadata", "team=ads", "--remove-metadata", "env")
    assert changed["metadata"] == {"team": "ads"}
    changed = cli.json("token", "update", made["id"], "--expires", "never", "--no-max-requests")
    assert (changed["expires_at"], changed["max_requests"]) == (None, None)
    assert cli.json("token", "revoke", made["id"])["active"] is False
    lookup = TokenLookup(cli.store)
    grant = lookup.find(text)
    assert grant
    assert not grant.token.active
    lookup.close()


def test_neither_key_nor_token_is_ever_shown_again(with_project: Cli) -> None:
    cli = with_project
    text = cli.json("token", "create", "--project", "acme")["token"]
    for arguments in (("project", "list"), ("project", "show", "acme"), ("token", "list")):
        for extra in ((), ("--json",)):
            output = cli.run(*arguments, *extra).output
            assert KEY not in output
            assert text not in output


def test_output_for_people(with_project: Cli) -> None:
    cli = with_project
    assert "There are no tokens yet" in cli.run("token", "list").stderr
    made = cli.run("token", "create", "--project", "acme", "--metadata", "team=search").stdout
    fields = dict(line.split(maxsplit=1) for line in made.splitlines())
    assert fields["token"].startswith("sk-llmp-")
    assert (fields["active"], fields["metadata"], fields["expires_at"]) == ("yes", "team=search", "-")
    header, row = cli.run("token", "list").stdout.splitlines()
    assert header.split()[:3] == ["id", "project", "prefix"]
    assert fields["id"] in row


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("project", "show", "nobody"), 1, "no project 'nobody'"),
        (("token", "show", "nobody"), 1, "no token with the id 'nobody'"),
        (("token", "create", "--project", "nobody"), 1, "no project 'nobody'"),
        (("project", "create", "acme", "--api-key", KEY), 1, "'acme' exists already"),
        (("project", "create", "x", "--api-key", "sk-proxy-1"), 2, "give the real key"),
        (("project", "update", "acme"), 2, "nothing to change"),
        (("token", "create", "--project", "acme", "--metadata", "novalue"), 2, "KEY=VALUE"),
        (("token", "create", "--project", "acme", "--expires", "soon"), 2, "write 30d"),
        (("token", "create", "--project", "acme", "--max-requests", "-1"), 2, "-1"),
        (("token", "create", "--project", "acme", "--metadata", f"k={'v' * 600}"), 2, "512"),
        (("token", "create"), 2, "--project"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_errors(with_project: Cli, arguments: tuple[str, ...], code: int, said: str) -> None:
    result = with_project.run(*arguments)
    assert result.exit_code == code, result.output
    *_, last = result.stderr.splitlines()
    assert last.startswith("Error: ")
    assert said in last
    assert "Traceback" not in result.output


def test_a_typo_in_the_path_makes_no_store(tmp_path: Path) -> None:
    result = Cli(tmp_path / "typo.db").run("token", "list")
    assert result.exit_code == 1
    assert "there is no token store at" in result.stderr
    assert not (tmp_path / "typo.db").exists()


def test_where_the_store_is(tmp_path: Path) -> None:
    """Behind the verb beats before it beats the environment beats the default."""
    for name in ("environment", "before", "behind"):
        Cli(tmp_path / name).json("project", "create", name, "--api-key", KEY)
    env = {"LLMPROXY_STORE": str(tmp_path / "environment")}
    before, behind = ["--store", str(tmp_path / "before")], ["--store", str(tmp_path / "behind")]

    def name(*arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--json"], env=env)
        return str(json.loads(result.stdout)[0]["name"])

    assert name("project", "list") == "environment"
    assert name(*before, "project", "list") == "before"
    assert name(*before, "project", "list", *behind) == "behind"
    assert name("project", "list", *behind) == "behind"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5


def test_token_list_does_not_wait_for_boto3(with_project: Cli) -> None:
    code = (
        "import sys; from scripts.cli import main; main(['token', 'list'], standalone_mode=False); "
        "print([m for m in ('boto3', 'mitmproxy', 'tiktoken') if m in sys.modules])"
    )
    environment = {**os.environ, "LLMPROXY_STORE": str(with_project.store)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


HEAVY = ("boto3", "botocore", "mitmproxy", "tiktoken", "genai_prices", "sqlalchemy", "sqlite_utils", "rich")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["spool", "--help"]], ids=" ".join)
def test_help_imports_no_large_library(arguments: list[str]) -> None:
    heavy = HEAVY[:-1] if arguments[0] == "spool" else HEAVY  # its tail prints with rich
    code = (
        f"import sys; from scripts.cli import main; main({arguments}, standalone_mode=False); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_status_imports_no_store(tmp_path: Path) -> None:
    code = (
        f"import sys; from scripts.cli import main; main(['status', '--json', '--spool', {str(tmp_path)!r}], "
        f"standalone_mode=False); print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_of_the_group_says_what_the_command_says(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert COMMANDS[name][1] == command.get_short_help_str(1000)


def test_completion_imports_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(main), "get_command", lambda *_: pytest.fail("a command was imported"))
    assert [item.value for item in main.shell_complete(click.Context(main), "sp")] == ["spool"]
    assert "--version" in [item.value for item in main.shell_complete(click.Context(main), "--")]


def test_version_and_path_of_the_addon() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"llmproxy {llmproxy_version()}\n"
    path = Path(CliRunner().invoke(main, ["addon-path"]).output.strip())
    assert path.is_absolute()
    assert "addons = [" in path.read_text()


def test_an_id_is_known_by_its_beginning_or_a_name(with_project: Cli) -> None:
    cli = with_project
    made = cli.json("token", "create", "--project", "acme")
    project = cli.json("project", "show", "acme")["id"]
    for given in (made["id"], made["id"][:30], made["prefix"]):
        assert cli.json("token", "show", given)["id"] == made["id"], given
    assert cli.json("project", "show", project[:30])["id"] == project
    assert [one["id"] for one in cli.json("token", "list", "--project", project[:13])] == [made["id"]]
    assert cli.json("token", "update", made["prefix"], "--metadata", "team=a")["metadata"] == {"team": "a"}
    assert cli.json("token", "revoke", made["id"][:30])["active"] is False


def test_a_beginning_that_several_have_is_refused(with_project: Cli) -> None:
    cli = with_project
    first = cli.json("token", "create", "--project", "acme")["id"]
    cli.json("token", "create", "--project", "acme")
    refused = cli.run("token", "revoke", first[:4])
    assert (refused.exit_code, "the ids of several tokens begin with" in refused.stderr) == (2, True)
    for nothing in ("%", "ffff", "____", first[:3]):
        assert cli.run("token", "revoke", nothing).exit_code == 1
    assert all(token["active"] for token in cli.json("token", "list"))

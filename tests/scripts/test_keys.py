"""``llmproxy keys``, and how ``llmproxy project`` tells where a key is kept."""

from __future__ import annotations

import base64
import contextlib
import sqlite3
from pathlib import Path

import pytest

from scripts.client import client_environment
from scripts.client.doctor_checks import store as doctor
from scripts.options import Places
from store.database.location import StoreLocation
from store.keys import master_key
from store.tokens.store import TokenStore
from tests.scripts.test_cli import KEY, Cli

MASTER = base64.b64encode(b"m" * 32).decode()


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    for name in (master_key.VARIABLE, master_key.FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return Cli(tmp_path / "store.db")


def test_init(cli: Cli) -> None:
    made = cli.json("keys", "init")
    assert made["where"] == str(cli.store.with_suffix(".key"))
    again = cli.run("keys", "init")
    assert again.exit_code == 1
    assert "there is a master key in" in again.stderr
    cli.json("project", "create", "acme", "--api-key", KEY)
    with contextlib.closing(sqlite3.connect(cli.store)) as connection:
        (sealed,) = connection.execute("SELECT api_key FROM projects").fetchone()
    assert sealed.startswith(f"aesgcm:v1:{made['master_key']}:")


def test_status_and_encrypt(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.json("project", "create", "acme", "--api-key", KEY)["key"] == "encrypted"
    assert cli.json("project", "create", "env", "--api-key", "env:SOME_KEY")["key"] == "env:SOME_KEY"
    monkeypatch.setenv("SOME_KEY", KEY)
    assert cli.json("keys", "status") == [
        {"project": "acme", "key": "encrypted", "ok": True, "detail": None},
        {"project": "env", "key": "env:SOME_KEY", "ok": True, "detail": None},
    ]
    monkeypatch.delenv("SOME_KEY")
    result = cli.run("keys", "status")
    assert result.exit_code == 1
    assert "not set in the proxy's environment" in result.stdout
    cli.json("project", "update", "env", "--api-key", KEY)
    with contextlib.closing(sqlite3.connect(cli.store)) as connection, connection:
        connection.execute("UPDATE projects SET api_key = ? WHERE name = 'acme'", [f"plain:{KEY}"])
    assert doctor(Places(store=StoreLocation.of(cli.store))).remedy == "run `llmproxy keys encrypt`"
    result = cli.run("keys", "status")
    assert result.exit_code == 1
    assert KEY not in result.output
    assert "`llmproxy keys encrypt` encrypts it" in result.stdout
    assert cli.json("keys", "encrypt") == {"encrypted": 1}
    assert cli.run("keys", "status").exit_code == 0
    assert doctor(Places(store=StoreLocation.of(cli.store))).status == "ok"


def test_rotate(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.json("project", "create", "acme", "--api-key", KEY)
    first = cli.json("keys", "rotate")
    assert first["encrypted"] == 1
    assert first["where"] == str(cli.store.with_suffix(".key"))
    assert cli.json("keys", "rotate")["master_key"] != first["master_key"]
    assert cli.json("keys", "status")[0]["ok"]
    monkeypatch.setenv(master_key.VARIABLE, MASTER)
    wrong = cli.run("keys", "rotate")
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("Error: the master key is wrong: keys in the store are encrypted with ")
    assert wrong.stderr.count("\n") == 1
    assert MASTER not in wrong.output
    assert doctor(Places(store=StoreLocation.of(cli.store))).status == "failed"


def test_a_reference_of_the_wrong_form_is_wrong_usage(cli: Cli) -> None:
    result = cli.run("project", "create", "acme", "--api-key", "env:A B")
    assert result.exit_code == 2
    assert "write env:NAME" in result.stderr


def test_programs_behind_the_proxy_do_not_get_the_master_key() -> None:
    after = client_environment.apply({"X": "1"}, {master_key.VARIABLE: MASTER, "PATH": "/bin"})
    assert after == {"X": "1", "PATH": "/bin"}


def test_an_admin_key_is_kept_and_forgotten(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.json("keys", "init")
    project = cli.json("project", "create", "acme", "--api-key", KEY)["id"]
    given = "sk-admin-0123456789abcdef"
    monkeypatch.setenv("ADMIN_KEY", given)
    assert cli.json("keys", "set-admin", "acme", "env:ADMIN_KEY") == {"project": "acme", "admin_key": "set"}
    store = TokenStore.open(cli.store)
    kept = store.keys.read_admin(project)
    assert kept is not None
    assert kept.reveal() == given
    assert cli.json("keys", "remove-admin", project) == {"project": "acme", "admin_key": "none"}
    assert store.keys.read_admin(project) is None
    store.close()
    unknown = cli.run("keys", "remove-admin", "nobody")
    assert unknown.exit_code == 1
    assert "nobody" in unknown.stderr

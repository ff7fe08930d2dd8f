"""A URL that cannot be read is said in a line that names it, by whichever command it was given to."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.cli import main

TO_A_FILE = ("dispatch", "--once", "--service", "file", "--output", "events.jsonl")
SECRETS = {
    **{f"DISPATCHER_{name}_API_KEY": "secret-of-a-backend" for name in ("HELICONE", "LUNARY")},
    **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "secret-of-a-cloud"),
    "OPENAI_API_KEY": "sk-llmp-0123456789abcdefghij",
}


@pytest.mark.parametrize("place", ["http://[x", "http://host:99999", "http://host:port/v1"])
@pytest.mark.parametrize(
    "command",
    [
        ("prices", "update"),
        ("me", "--url"),
        ("run", "--proxy"),
        ("reconcile", "--project", "acme", "--since", "1d", "--base-url"),
        ("dispatch", "--once", "--service", "helicone", "--helicone-endpoint"),
        ("dispatch", "--once", "--service", "lunary", "--lunary-endpoint"),
        ("dispatch", "--once", "--service", "otlp", "--otlp-endpoint"),
        (*TO_A_FILE, "--bus"),
        ("cache", "purge", "--url"),
    ],
    ids=" ".join,
)
def test_a_url_that_cannot_be_read(command: tuple[str, ...], place: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store.db")
    made = CliRunner().invoke(
        main, ["project", "create", "acme", "--store", store, "--api-key", "-"], input="sk-live-1234567890"
    )
    assert made.exit_code == 0, made.output
    admin = CliRunner().invoke(
        main, ["keys", "set-admin", "acme", "-", "--store", store], input="sk-admin-0123456789abcdefghij"
    )
    assert admin.exit_code == 0, admin.output
    environment = {**SECRETS, "LLMPROXY_STORE": store, "LLMPROXY_SPOOL": str(tmp_path / "spool")}
    said = CliRunner().invoke(main, [*command, place, *("true",) * (command[0] == "run")], env=environment)
    assert said.exit_code in (1, 2), said.output
    assert isinstance(said.exception, SystemExit), said.exception
    line = said.output.strip().splitlines()[-1]
    assert line.startswith("Error: "), said.output
    assert place in line or "bus" in line
    assert "secret-of" not in said.output


@pytest.mark.parametrize("place", ["redis://[x", "redis://host:99999", "redis+sentinel://host:x/service"])
def test_a_bus_that_cannot_be_read(place: str, tmp_path: Path) -> None:
    said = CliRunner().invoke(main, [*TO_A_FILE, "--bus", place], env={"LLMPROXY_SPOOL": str(tmp_path)})
    assert said.exit_code in (1, 2), said.output
    assert isinstance(said.exception, SystemExit), said.exception
    assert "write it like redis://HOST:6379/0" in said.output

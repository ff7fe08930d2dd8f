"""``scripts/clients`` sees that a client works through the proxy, and that one goes past it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.benchmarks import clients
from scripts.benchmarks.clients import Client, main

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.once]


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = (
        next(one for one in clients.CLIENTS if one.name == "curl"),
        Client("stranger", (), "true"),
        Client("broken", (), "echo it is broken >&2; exit 3"),
    )
    monkeypatch.setattr(clients, "CLIENTS", tried)
    monkeypatch.setattr(clients, "EVENT_SECONDS", 6)
    done = CliRunner().invoke(main, ["--folder", str(tmp_path), "--json"])
    assert done.exit_code == 1, done.output
    rows = {row["client"]: (row["proxy"], row["base_url"], row["note"]) for row in json.loads(done.stdout)}
    assert rows == {
        "curl": (True, True, None),
        "stranger": (False, False, "no event: its calls went past the proxy"),
        "broken": (False, False, "it is broken"),
    }


QUICK = ("openai-python", "openai-node-20")
"""One in each language; beside curl, above."""


@pytest.mark.timeout(600)
def test_the_sdks_of_openai(tmp_path: Path) -> None:
    """From PyPI and npm, where they are reached."""
    done = CliRunner().invoke(main, ["--folder", str(tmp_path), "--only", ",".join(QUICK), "--json"])
    rows = {row["client"]: row for row in json.loads(done.stdout)}
    gone = [row["note"] for row in rows.values() if row["note"] and row["note"].startswith("not run")]
    if gone:
        pytest.skip(gone[0])
    assert done.exit_code == 0, done.output
    assert (rows["openai-python"]["proxy"], rows["openai-python"]["base_url"]) == (True, True)
    assert rows["openai-node-20"]["base_url"] is True

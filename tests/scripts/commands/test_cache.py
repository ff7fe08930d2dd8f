"""``llmproxy cache``"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from addons.recording.reporter import process_facts
from store.cache.purges import OrderedPurges
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.spool.status_files import StatusFile
from tests.scripts.test_cli import KEY, Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path / "store.db")
    made.json("project", "create", "acme", "--api-key", KEY)
    return made


def test_a_purge_is_ordered_for_all_proxies(cli: Cli) -> None:
    acme = cli.json("project", "show", "acme")["id"]
    assert "Ordered" in cli.run("cache", "purge", "--project", "acme").output
    cli.json("cache", "purge", "--url", "https://x/v1/models?b=1&a=2", "--method", "get")
    cli.json("cache", "purge", "--url", "/v1/", "--prefix")
    cli.json("cache", "purge", "--key", "ab12")
    cli.json("cache", "purge", "--all")
    heard = OrderedPurges(engine_of(StoreLocation.of(cli.store))).new()
    assert [(one.project_id, one.key, one.method, one.target, one.prefix) for one in heard] == [
        (acme, None, None, None, False),
        (None, None, "GET", "/v1/models?a=2&b=1", False),
        (None, None, None, "/v1/", True),
        (None, "ab12", None, None, False),
        (None, None, None, None, False),
    ]
    shown = cli.json("audit", "list", "--action", "cache")
    assert len(shown) == 5


@pytest.mark.parametrize("arguments", [[], ["--prefix"], ["--url", "models"], ["--all", "--prefix"]])
def test_what_is_wrong_is_said(cli: Cli, arguments: list[str]) -> None:
    result = cli.run("cache", "purge", *arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_stats_are_those_of_living_proxies(cli: Cli, tmp_path: Path) -> None:
    nothing = cli.run("cache", "stats", "--spool", str(tmp_path / "spool"))
    assert "No proxy on this spool keeps answers." in nothing.output
    file = StatusFile(tmp_path / "spool", "w1")
    kept = {"results": {"hit": 3, "miss": 1, "slow": 2}, "entries": 1, "bytes": 900, "evicted": 0}
    file.write({**process_facts("w1"), "cache": kept})
    shown = cli.run("cache", "stats", "--json", "--spool", str(tmp_path / "spool"))
    (row,) = json.loads(shown.output)
    assert row == {
        "proxy": "w1",
        "hits": 3,
        "misses": 1,
        "bypassed": 0,
        "stored": 0,
        "revalidated": 0,
        "entries": 1,
        "bytes": 900,
        "evicted": 0,
        "slow": 2,
    }
    file.close()

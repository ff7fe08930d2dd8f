"""``llmproxy prices``: a newer list is checked, taken, shown, and held against what was called."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from store.tokens.store import TokenStore
from store.usage.rollups import FIGURES, KEY, TABLE
from tests.scripts.test_cli import Cli
from tests.store.engines import add_row

YOUNG = "tomorrow-1"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    TokenStore.open(tmp_path / "store.db").close()
    return Cli(tmp_path / "store.db")


def write(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def models(**prices: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"id": "openai", "models": [{"id": name, "prices": rates} for name, rates in prices.items()]}]


def called(store: Path, model: str, calls: int, unpriced: int) -> None:
    """Sums of an hour, as the proxy keeps them."""
    place: dict[str, Any] = dict.fromkeys(KEY, "") | {"model": model, "hour": int(time.time()) // 3600}
    with contextlib.closing(TokenStore.open(store)) as opened, opened.connection.transaction():
        amounts = dict.fromkeys(FIGURES, 0) | {"calls": calls, "unpriced": unpriced}
        add_row(opened.connection, TABLE, place, amounts)


def test_a_newer_list_is_charged_and_says_so(cli: Cli, tmp_path: Path) -> None:
    assert cli.run("prices", "show", YOUNG).exit_code == 1
    newer = write(tmp_path / "newer.json", models(**{YOUNG: {"input_mtok": 2, "output_mtok": 8}}))
    tried = cli.run("prices", "update", newer, "--dry-run")
    assert tried.exit_code == 0
    assert cli.run("prices", "show", YOUNG).exit_code == 1, "a dry run changes nothing"
    made = cli.json("prices", "update", newer)
    assert (made["models"], made["new"], made["changed"]) == (1, 1, 0)
    shown = cli.json("prices", "show", YOUNG)
    assert (shown["input_mtok"], shown["output_mtok"]) == ("2", "8")
    assert shown["price_source"].startswith("prices/newer.json@")
    assert cli.json("prices", "show", "gpt-4o")["price_source"].startswith("genai-prices/")


def test_a_price_that_leaps_is_refused_until_it_is_accepted(cli: Cli, tmp_path: Path) -> None:
    leap = write(tmp_path / "leap.json", models(**{"gpt-4o": {"input_mtok": 250, "output_mtok": 10}}))
    refused = cli.run("prices", "update", leap)
    assert refused.exit_code == 1
    assert "openai gpt-4o: input_mtok 2.5 -> 250" in refused.stderr
    assert "run it again with --accept" in refused.stderr
    assert cli.json("prices", "show", "gpt-4o")["input_mtok"] == "2.5"
    assert cli.run("prices", "update", leap, "--max-factor", "200").exit_code == 0
    assert cli.json("prices", "show", "gpt-4o")["input_mtok"] == "250"
    back = write(tmp_path / "back.json", models(**{"gpt-4o": {"input_mtok": 2.5, "output_mtok": 10}}))
    assert cli.run("prices", "update", back).exit_code == 1, "a fall is a leap as well"
    assert cli.json("prices", "update", back, "--accept")["changed"] == 1


def test_the_model_map_of_litellm_is_a_list_too(cli: Cli, tmp_path: Path) -> None:
    entry = {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 2e-06,
        "output_cost_per_token": 8e-06,
        "cache_read_input_token_cost": 5e-07,
    }
    cli.json("prices", "update", write(tmp_path / "map.json", {"sample_spec": {}, YOUNG: entry}))
    shown = cli.json("prices", "show", YOUNG)
    assert [shown[f"{kind}_mtok"] for kind in ("input", "cache_read", "output")] == ["2", "0.5", "8"]


def test_models_that_were_called_without_a_price(cli: Cli, tmp_path: Path) -> None:
    assert cli.json("prices", "check") == []
    called(cli.store, "gpt-4o", 3, 0)
    called(cli.store, YOUNG, 2, 2)
    found = cli.run("prices", "check", "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout) == [{"model": YOUNG, "calls": 2, "unpriced": 2, "state": "model_unknown"}]
    cli.json("prices", "update", write(tmp_path / "l.json", models(**{YOUNG: {"input_mtok": 1}})))
    assert [row["state"] for row in cli.json("prices", "check")] == ["priced since"]


@pytest.mark.parametrize("url", ["http://prices.example/data.json", "ftp://127.0.0.1/data.json"])
def test_a_list_comes_by_https_only(cli: Cli, url: str) -> None:
    refused = cli.run("prices", "update", url)
    assert refused.exit_code == 2
    assert "only https:// is read" in refused.stderr


def test_what_is_no_list_is_named(cli: Cli, tmp_path: Path) -> None:
    refused = cli.run("prices", "update", write(tmp_path / "none.json", {"x": 1}))
    assert refused.exit_code == 1
    assert "none.json" in refused.stderr
    assert "Traceback" not in refused.stderr

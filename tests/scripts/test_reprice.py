"""``llmproxy reprice``, and prices of one's own in ``import``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from store.spool import SpoolReader, SpoolWriter, scan
from tests import nursery
from tests.addons.importing.test_importing import FORMS
from tests.addons.recording.test_repricing import call

pytestmark = pytest.mark.slow  # in sum

PRICES = "{id: openai, models: [{id: ours, prices: {input_mtok: 1, output_mtok: 2}}]}"


def run(*arguments: str | Path, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-m", "scripts.cli", *map(str, arguments)]
    return nursery.run(command, input=stdin, env=os.environ | environment)


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    file = tmp_path / "prices.yaml"
    file.write_text(PRICES)
    return file


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    writer = SpoolWriter(folder)
    writer.append([call(1), call(2, model="unheard-of"), call(3, cost={"usd": "5", "price_source": "x"})])
    writer.close()
    return folder


def repricings(spool: Path) -> list[dict[str, Any]]:
    return [record for record in scan(spool) if record["type"] == "llm_proxy_repricing"]


def test_a_spool_is_repriced_once(spool: Path, prices: Path) -> None:
    with SpoolReader(spool, "backend") as reader:  # what has been sent already
        reader.commit(reader.read())
    done = run("--spool", spool, "reprice", "--prices", prices)
    assert done.returncode == 0, done.stderr
    (event,) = map(json.loads, done.stdout.splitlines())
    assert (event["event_id"], event["cost"]["usd"]) == ("call-1", "1")
    assert done.stderr == (
        b"3 calls, 2 of unknown cost; 1 got another cost; still without a price: model_unknown 1.\n"
    )
    (record,) = repricings(spool)
    assert (record["of"], record["cost"]["price_source"]) == ("call-1", "llm_prices/prices.yaml")
    with SpoolReader(spool, "backend") as reader:
        sent = [one.value for one in reader.read().records]
    assert [one["type"] for one in sent] == ["llm_proxy_repricing", "llm_proxy_writer"]
    again = run("--spool", spool, "reprice", LLMPROXY_PRICES=str(prices))
    assert again.stdout == b""
    assert len(repricings(spool)) == 1


def test_counting_writes_nothing(spool: Path, prices: Path) -> None:
    before = sorted(spool.iterdir())
    done = run("--spool", spool, "reprice", "--all", "--dry-run", "--json", "--prices", prices)
    assert json.loads(done.stdout) == {
        "calls": 3,
        "unknown": 2,
        "repriced": 2,
        "reasons": {"model_unknown": 1},
    }
    text = run("--spool", spool, "reprice", "--dry-run", "--prices", prices).stdout
    assert text.startswith(b"3 calls, 2 of unknown cost; 1 would get another cost; ")
    assert sorted(spool.iterdir()) == before


def test_files_and_standard_input(tmp_path: Path, prices: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(call(1)) + "\nnonsense\n" + json.dumps(call(2)) + "\n")
    spool = tmp_path / "new"
    done = run("--spool", spool, "reprice", file, "-", "--prices", prices, stdin=json.dumps(call(3)).encode())
    assert [json.loads(line)["event_id"] for line in done.stdout.splitlines()] == [
        "call-1",
        "call-2",
        "call-3",
    ]
    assert done.returncode == 1
    assert f"Error: {file}: line 2 is no JSON object; it was skipped.".encode() in done.stderr
    assert [record["of"] for record in repricings(spool)] == ["call-1", "call-2", "call-3"]
    printed = run("--spool", tmp_path / "none", "reprice", file, "--print-only", "--prices", prices)
    assert len(printed.stdout.splitlines()) == 2
    assert not (tmp_path / "none").exists()


def test_wrong_usage(tmp_path: Path, prices: Path) -> None:
    missing = run("--spool", tmp_path / "none", "reprice")
    assert missing.returncode == 1
    assert missing.stderr.startswith(b"Error: there is no spool at ")
    gone = run("reprice", tmp_path / "gone.jsonl", "--print-only")
    assert gone.returncode == 1
    assert b"gone.jsonl: No such file or directory." in gone.stderr
    prices.write_text("{id: openai, models: [{id: ours, prices: {input_mtok: cheap}}]}")
    bad = run("reprice", "-", "--prices", prices)
    assert bad.returncode == 2
    assert b"prices.yaml: [0].models[0].prices.input_mtok: 'cheap' is no price; " in bad.stderr
    assert run("reprice", "-", "--json").returncode == 2


def test_import_takes_prices_too(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    file.write_bytes(FORMS["jsonl"])
    prices = tmp_path / "all.json"
    match = {"regex": ""}
    model = {"id": "any", "match": match, "prices": {"input_mtok": 1, "output_mtok": 1}}
    prices.write_text(json.dumps([{"id": "openai", "models": [model]}]))
    done = run("import", file, "--json", "--prices", prices)
    costs = [json.loads(line)["cost"] for line in done.stdout.splitlines()]
    sources = {cost["price_source"] for cost in costs if cost}
    assert "llm_prices/all.json" in sources

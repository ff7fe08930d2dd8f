"""``llmproxy import``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from store.spool import SpoolReader
from store.tokens.store import TokenStore
from tests import corpus, nursery
from tests.addons.importing.test_importing import FORMS, WHOLE


def run(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-m", "scripts.cli", *map(str, arguments)]
    return nursery.run(command, input=stdin)


def spooled(folder: Path) -> list[dict[str, Any]]:
    with SpoolReader(folder, "test") as reader:
        values = [record.value for record in reader.read(max_events=10_000).records]
    return [value for value in values if value["type"] == "llm_proxy_usage"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "traffic.jsonl"
    path.write_bytes(FORMS["jsonl"])
    return path


def test_json_prints_and_stores_nothing(file: Path, tmp_path: Path) -> None:
    done = run("--spool", tmp_path / "spool", "import", file, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(events) == len(WHOLE)
    assert {event["endpoint"] for event in events} >= {"chat", "completions", "responses", "embeddings"}
    assert not (tmp_path / "spool").exists()


def test_standard_input(tmp_path: Path) -> None:
    done = run("import", "-", "--json", stdin=FORMS["har"])
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(WHOLE)


def test_a_second_import_adds_nothing(file: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    first = run("--spool", spool, "import", file)
    assert first.stderr == f"{len(WHOLE)} events added, 0 known already.\n".encode()
    again = run("--spool", spool, "import", file, file)
    assert again.stderr == f"0 events added, {2 * len(WHOLE)} known already.\n".encode()
    events = spooled(spool)
    assert len(events) == len({event["event_id"] for event in events}) == len(WHOLE)
    assert (spool / "imported.db").stat().st_mode & 0o077 == 0


def test_equal_exchanges_of_one_file_are_counted_each(tmp_path: Path) -> None:
    line = FORMS["jsonl"].splitlines(keepends=True)[0]
    done = run("--spool", tmp_path / "spool", "import", "-", stdin=line * 3)
    assert done.stderr == b"3 events added, 0 known already.\n"


def test_attribution(file: Path, tmp_path: Path) -> None:
    store = TokenStore.open(tmp_path / "store.db")
    project = store.create_project("search", "sk-key-0123456789")
    token, _ = store.create_token(project.id, metadata={"user_id": "ada", "team": "a"})
    store.close()
    options = ("--store", tmp_path / "store.db", "import", file, "--json", "--metadata", "team=b")
    by_token = json.loads(run(*options, "--token", token.id).stdout.splitlines()[0])
    assert (by_token["project_name"], by_token["token_id"]) == ("search", token.id)
    assert by_token["token_metadata"] == {"user_id": "ada", "team": "b"}
    assert by_token["user"] == {"id": "ada", "source": "token_metadata.user_id"}
    by_project = json.loads(run(*options, "--project", "search").stdout.splitlines()[0])
    assert (by_project["project_id"], by_project["token_id"]) == (project.id, None)
    unknown = run(*options, "--project", "nobody")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith(b"Error: ")


def test_a_damaged_file_gives_what_came_before_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cut.har"
    path.write_bytes(FORMS["har"][: len(FORMS["har"]) // 2])
    done = run("import", path, "--json")
    assert done.returncode == 1
    count = len(done.stdout.splitlines())
    assert 0 < count < len(WHOLE)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"Error: {path}: ")
    assert line.endswith(f"the {count} exchanges before it were read.")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "it is empty"), (b"\x00\x01", "it is neither a mitmproxy flow file"), (None, "No such file")],
)
def test_a_file_that_is_no_recording(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    done = run("import", path, "--json")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith(f"Error: {path}: {said}")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_a_reader_that_has_seen_enough(file: Path) -> None:
    command = f"{sys.executable} -P -m scripts.cli import {file} {file} {file} --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=False)
    assert json.loads(done.stdout)["type"] == "llm_proxy_usage"
    assert done.stderr == b""


@pytest.mark.slow
def test_recorded_traffic_gives_one_event_each() -> None:
    exchanges = corpus.load()
    done = run("import", corpus.FILE, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({event["event_id"] for event in events}) == len(events) == len(exchanges)
    for exchange, event in zip(exchanges, events, strict=True):
        assert event["usage"] is not None or event["usage_missing"], exchange["id"]
        assert event["cost"] is None or event["cost"]["usd"] or event["cost"]["missing"], exchange["id"]

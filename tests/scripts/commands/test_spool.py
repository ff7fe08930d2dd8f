from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from scripts.cli import main
from store.spool import SpoolReader, SpoolWriter
from tests.dispatch.conftest import usage_event, write
from tests.live.harness import wait_for


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def run(spool: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--spool", str(spool), "spool", *arguments])


def read(spool: Path, consumer: str = "file") -> list[dict[str, Any]]:
    with SpoolReader(spool, consumer) as reader:
        found = []
        while batch := reader.read():
            found += [record.value for record in batch.records if record.value["type"] == "llm_proxy_usage"]
            reader.commit(batch)
        reader.reclaim()
        return found


def bury(spool: Path, number: int, reason: str) -> None:
    """Read `number` records and refuse them."""
    with SpoolReader(spool, "file") as reader:
        batch = reader.read(max_events=number)
        for record in batch.records:
            batch.bury(record.line, record.segment, record.offset, reason)
        reader.commit(batch)


def test_a_spool_that_is_not_there(tmp_path: Path) -> None:
    for verb in ("status", "verify", "repair", "tail"):
        result = run(tmp_path / "typo", verb)
        assert result.exit_code == 1
        assert "there is no spool at" in result.output


def test_status(spool: Path) -> None:
    at = datetime.now(UTC) - timedelta(minutes=10)
    write(spool, [usage_event(n, at) for n in range(5)])
    bury(spool, 2, "too old")
    with SpoolReader(spool, "other"):
        found = json.loads(run(spool, "status", "--json").output)
    file, other = found["consumers"]
    assert (found["segments"], found["writers"], found["writers_alive"]) == (1, 1, 0)
    assert (file["consumer"], file["at_work"], file["dead"]) == ("file", None, {"too old": 2})
    assert other["at_work"] > 0
    assert other["backlog_bytes"] > file["backlog_bytes"] > 0
    assert 590 < file["lag_seconds"] < 660
    shown = run(spool, "status").output
    assert "file: 2 dead: too old" in shown
    assert f"{file['backlog_bytes']:,} bytes" in shown


def test_verify_tells_and_repair_mends(spool: Path) -> None:
    write(spool, [usage_event(n) for n in range(3)])
    assert run(spool, "verify").exit_code == 0
    (path,) = spool.glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"seq":2}', b'"seq":2!', 1))
    told = run(spool, "verify")
    assert told.exit_code == 1
    assert "not JSON" in told.output
    assert "missing 2" in told.output
    assert json.loads(run(spool, "repair", "--json").output)["lines"] == 1
    assert json.loads(run(spool, "verify", "--json").output)["damaged"] == []


def test_replay_of_a_range(spool: Path) -> None:
    now = datetime.now(UTC)
    ids = write(spool, [usage_event(n, now - timedelta(hours=5 - n)) for n in range(5)])
    keeper = SpoolReader(spool, "keeper")  # has read nothing: the segments stay
    keeper.close()
    assert [event["event_id"] for event in read(spool)] == ids
    done = run(spool, "replay", "--sink", "file", "--since", "210m", "--until", "90m", "--json")
    assert json.loads(done.output) == {"consumer": "file", "replayed": 2}
    assert [event["event_id"] for event in read(spool)] == ids[2:4]
    assert read(spool) == [], "once"
    assert list((spool / "replay" / "file").iterdir()) == []
    assert len(read(spool, "keeper")) == 5, "others are not concerned"
    assert run(spool, "replay", "--sink", "file", "--since", "1s").exit_code == 1


def test_replay_of_dead_letters(spool: Path) -> None:
    ids = write(spool, [usage_event(n) for n in range(4)])
    bury(spool, 1, "longer than 10 bytes")
    bury(spool, 2, "too old")
    assert [event["event_id"] for event in read(spool)] == ids[3:]
    assert "2 records" in run(spool, "replay", "--sink", "file", "--dead", "--reason", "too old").output
    assert [event["event_id"] for event in read(spool)] == ids[1:3]
    assert "1 records" in run(spool, "replay", "--sink", "file", "--dead").output
    assert [event["event_id"] for event in read(spool)] == ids[:1]
    assert run(spool, "replay", "--sink", "file", "--dead").exit_code == 1


def test_replay_reaches_a_consumer_at_work(spool: Path) -> None:
    ids = write(spool, [usage_event(n) for n in range(2)])
    with SpoolReader(spool, "file") as reader:
        reader.commit(reader.read())
        assert run(spool, "replay", "--sink", "file", "--since", "1d").exit_code == 0
        again = [record.value["event_id"] for record in reader.read().records]
        assert again[:2] == ids


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--sink", "file"], 2, "say which"),
        (["--sink", "nobody", "--dead"], 1, "there is no consumer 'nobody'"),
        (["--sink", "file", "--since", "yesterday"], 2, "write 30m"),
        (["--sink", "file", "--since", "1d", "--reason", "x"], 2, "--reason goes with --dead"),
    ],
)
def test_wrong_usage_of_replay(spool: Path, arguments: list[str], code: int, said: str) -> None:
    write(spool, [usage_event(1)])
    read(spool)
    result = run(spool, "replay", *arguments)
    assert result.exit_code == code
    assert said in result.output


HOSTILE = "gpt\x1b]0;owned\x07\x9b2J\r\n12:00:00.000 ok forged \u202e"


@pytest.mark.parametrize("arguments", [("tail", "--no-follow"), ("tail", "--no-follow", "--json")])
def test_what_clients_wrote_steers_no_terminal(spool: Path, arguments: tuple[str, ...]) -> None:
    writer = SpoolWriter(spool)
    hostile = {"model": HOSTILE, "project_name": HOSTILE, "outcome": HOSTILE, "user": {"id": HOSTILE}}
    writer.append([usage_event(1, **hostile)])
    writer.close()
    [line] = run(spool, *arguments).output.splitlines()
    assert line.isprintable()
    assert "x1b]0;owned" in line or "u001b]0;owned" in line


def test_tables_and_reasons_steer_no_terminal(spool: Path) -> None:
    write(spool, [usage_event(n) for n in range(2)])
    bury(spool, 1, HOSTILE)
    assert all(line.isprintable() for line in run(spool, "status").output.split("\n"))


def test_tail_filters_and_follows(spool: Path) -> None:
    writer = SpoolWriter(spool)
    writer.append(
        [usage_event(1, model="gpt-4o"), usage_event(2, model="o3", project_name="b", outcome="refused")]
    )
    shown = run(spool, "tail", "--no-follow").output.splitlines()
    assert len(shown) == 2
    assert "gpt-4o 1 > 1 tokens $0.001" in shown[0]
    assert (
        len(run(spool, "tail", "--no-follow", "--model", "o3", "--outcome", "refused").output.splitlines())
        == 1
    )
    assert run(spool, "tail", "--no-follow", "--project", "b", "--token", "x").output == ""
    assert len(run(spool, "tail", "--no-follow", "-n", "1").output.splitlines()) == 1
    arguments = [
        sys.executable,
        "-m",
        "scripts.cli",
        "--spool",
        str(spool),
        "spool",
        "tail",
        "--json",
        "-n",
        "0",
    ]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(process.stdout or []))
    reader.start()
    try:

        def arrived() -> list[str]:
            writer.append([usage_event(3)])
            return got

        wait_for(arrived, "a line", 60)
    finally:
        process.terminate()
        process.wait(10)
        reader.join(10)
        writer.close()
    assert json.loads(got[0])["usage"]["input_tokens"] == 3

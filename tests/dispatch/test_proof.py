"""The proof names exactly what is missing, and says of all else where it is."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dispatch import proof as proofs
from dispatch.proof import prove
from dispatch.service import Dispatcher
from dispatch.sinks.cloudwatch import CloudWatchSink
from dispatch.sinks.cloudwatch.streams import StreamNames
from dispatch.sinks.file import FileSink
from scripts.benchmarks.strict_cloudwatch import StrictCloudWatch
from scripts.cli import main
from store.spool import SpoolReader, open_spool
from store.spool.replay import Range, replay_range
from tests.dispatch.conftest import AWS, usage_event, write


def now() -> datetime:
    return datetime.now(UTC)


def send(spool: Path, output: Path, **settings: Any) -> FileSink:
    sink = FileSink(output, **settings)
    with SpoolReader(spool, "file") as reader:
        Dispatcher(reader, sink, batch_size=10, follow=False).run()
    return sink


def run(spool: Path, output: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    given = [
        "--spool",
        str(spool),
        "prove",
        "--since",
        "1h",
        "--sink",
        "file",
        "--output",
        str(output),
        "--json",
    ]
    result = CliRunner().invoke(main, [*given, *arguments])
    return result.exit_code, json.loads(result.stdout)


def test_all_is_there(spool: Path, tmp_path: Path) -> None:
    for _ in range(2):
        write(spool, [usage_event(n) for n in range(25)])
    send(spool, tmp_path / "out.jsonl")
    code, proof = run(spool, tmp_path / "out.jsonl")
    assert (code, proof["complete"], proof["duplicates"]) == (0, True, 0)
    assert [(each["delivered"], each["missing"], each["closed"]) for each in proof["writers"]] == [
        (25, [], True)
    ] * 2


def test_rotated_and_compressed_files_are_read(spool: Path, tmp_path: Path) -> None:
    for _ in range(3):
        write(spool, [usage_event(n) for n in range(5)])
        send(spool, tmp_path / "out.jsonl", rotate_size=1, zstd=True)
    assert len(list(tmp_path.glob("out-*.zst"))) >= 2
    assert run(spool, tmp_path / "out.jsonl")[1]["complete"]


def test_lines_that_the_sink_lost_are_named(spool: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    write(spool, [usage_event(n) for n in range(10)])
    send(spool, output)
    lines = output.read_text().splitlines()
    output.write_text("\n".join([*lines[:1], *lines[2:5], *lines[6:], lines[0], ""]))
    code, proof = run(spool, output)
    assert (code, proof["missing"], proof["duplicates"]) == (1, 2, 1)
    (writer,) = proof["writers"]
    assert (writer["missing"], writer["twice"]) == (["2", "6"], ["1"])


def test_the_last_numbers_are_missed_by_the_closing_record(spool: Path, tmp_path: Path) -> None:
    """Nothing later shows that they are not there, and the spool has forgotten them."""
    output = tmp_path / "out.jsonl"
    write(spool, [usage_event(n) for n in range(5)])
    send(spool, output)
    *rest, closing = output.read_text().splitlines()
    output.write_text("\n".join([*rest[:3], closing, ""]))
    assert not list(spool.glob("*.jsonl")), "removed: everybody is past it"
    assert run(spool, output)[1]["writers"][0]["missing"] == ["4-5"]


def test_what_waits_and_what_is_dead_is_not_missing(spool: Path, tmp_path: Path) -> None:
    write(spool, [usage_event(n) for n in range(6)])
    with SpoolReader(spool, "file") as reader:
        batch = reader.read(max_events=2)
        for record in batch.records:
            batch.bury(record.line, record.segment, record.offset, "too old")
        reader.commit(batch)
    (path,) = spool.glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"seq":4}', b'"seq":4!', 1))
    code, proof = run(spool, tmp_path / "out.jsonl")
    (writer,) = proof["writers"]
    assert (code, writer["waiting"], writer["dead"], writer["missing"]) == (0, 4, 2, [])
    send(spool, tmp_path / "out.jsonl")
    code, proof = run(spool, tmp_path / "out.jsonl")
    (writer,) = proof["writers"]
    assert (code, writer["delivered"], writer["waiting"], writer["dead"]) == (0, 3, 0, 3)


@pytest.mark.parametrize("passed", [["bus"], ["bus", "other"], ["other"], ["file"]])
def test_nothing_waits_that_every_cursor_is_past(spool: Path, tmp_path: Path, passed: list[str]) -> None:
    """A sink that is fed over the bus has no cursor of its own here."""
    write(spool, [usage_event(n) for n in range(6)])
    for name in passed:
        with SpoolReader(spool, name) as reader:
            reader.commit(reader.read())
    code, proof = run(spool, tmp_path / "out.jsonl")
    (writer,) = proof["writers"]
    assert (code, writer["waiting"], writer["missing"]) == (1, 0, ["1-6"])


def test_what_the_bus_has_not_confirmed_waits(spool: Path, tmp_path: Path) -> None:
    write(spool, [usage_event(n) for n in range(6)])
    with SpoolReader(spool, "bus") as reader, SpoolReader(spool, "elsewhere") as other:
        reader.commit(reader.read(max_events=2))
        other.commit(other.read())
    code, proof = run(spool, tmp_path / "out.jsonl")
    (writer,) = proof["writers"]
    assert (code, writer["waiting"], writer["missing"]) == (1, 4, ["1-2"])


def test_calls_under_way_are_not_missing(spool: Path) -> None:
    writer, journal = open_spool(spool)
    for id_ in "abc":
        journal.opened({"event_id": id_, "usage": None})
    writer.append([{"type": "llm_proxy_usage", "event_id": "a"}])
    proof = prove(spool, now() - timedelta(hours=1))
    (found,) = proof["writers"]
    assert (found["accepted"], found["without_event"], found["closed"], proof["complete"]) == (
        3,
        2,
        False,
        True,
    )
    writer.append([{"type": "llm_proxy_usage", "event_id": id_} for id_ in "bc"])
    writer.close()
    (found,) = prove(spool, now() - timedelta(hours=1))["writers"]
    assert (found["accepted"], found["without_event"], found["closed"]) == (3, 0, True)


def test_a_gap_in_the_spool_alone(spool: Path) -> None:
    write(spool, [usage_event(n) for n in range(5)])
    (path,) = spool.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    proof = prove(spool, now() - timedelta(hours=1))
    assert proof["writers"][0]["missing"] == ["3"]


def test_older_writers_are_judged_from_what_is_seen(spool: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    write(spool, [usage_event(n) for n in range(5)])
    send(spool, output)
    output.write_text("\n".join(output.read_text().splitlines()[3:]) + "\n")
    given = ["--spool", str(spool), "prove", "--since", "1h", "--sink", "file", "--output", str(output)]
    assert "MISSING: 1-3" in CliRunner().invoke(main, given).output
    later = (now() + timedelta(seconds=5)).isoformat()
    result = CliRunner().invoke(main, [*given[:4], later, *given[5:]])
    assert "Nothing is missing" in result.output


def test_cloudwatch_is_read_by_filter_log_events(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    with StrictCloudWatch() as server:
        sink = CloudWatchSink(
            "/llm/proof", StreamNames("proxy"), region="eu-central-1", endpoint_url=server.url
        )
        write(spool, [usage_event(n) for n in range(30)])
        SpoolReader(spool, "keeper").close()
        deliver(spool, sink)
        given = ["--spool", str(spool), "prove", "--since", "1h", "--sink", "cloudwatch", "--json"]
        given += ["--log-group", "/llm/proof", "--region", "eu-central-1", "--endpoint-url", server.url]
        proof = json.loads(CliRunner().invoke(main, given).stdout)
        assert (proof["complete"], proof["duplicates"], proof["writers"][0]["delivered"]) == (True, 0, 30)
        replay_range(spool, "cloudwatch", Range())
        deliver(spool, sink)
        stored = server.logs.groups["/llm/proof"].streams["proxy"]
        stored[:] = [event for event in stored if '"seq":7,' not in event.message]
        proof = json.loads(CliRunner().invoke(main, given).stdout)
        assert (proof["missing"], proof["duplicates"]) == (1, 29)
        assert proof["writers"][0]["missing"] == ["7"]
        assert proof["writers"][0]["twice"] == ["1-6", "8-30"]


def deliver(spool: Path, sink: Any) -> None:
    with SpoolReader(spool, "cloudwatch") as reader:
        Dispatcher(reader, sink, batch_size=10, follow=False).run()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--since", "1h", "--sink", "stdout"], 1, "can't be read back"),
        (["--since", "1h", "--sink", "nothing"], 2, "there is no sink 'nothing'"),
        ([], 2, "Missing option '--since'"),
    ],
)
def test_wrong_usage(spool: Path, arguments: list[str], code: int, said: str) -> None:
    write(spool, [usage_event(1)])
    result = CliRunner().invoke(main, ["--spool", str(spool), "prove", *arguments])
    assert (result.exit_code, said in result.output) == (code, True)


def test_segments_that_were_whole_before_are_not_read(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(spool, [usage_event(n) for n in range(5)])
    write(spool, [usage_event(n) for n in range(3)])
    old, new = sorted(spool.glob("*.jsonl"))
    long_ago = (now() - timedelta(hours=3)).timestamp()
    os.utime(old, (long_ago, long_ago))
    read: list[Path] = []
    real = proofs.lines
    monkeypatch.setattr(proofs, "lines", lambda path: read.append(path) or real(path))
    assert prove(spool, now() - timedelta(hours=1))["complete"]
    assert read == [new]
    read.clear()
    assert prove(spool, now() - timedelta(hours=1), slack=timedelta(hours=3))["complete"]
    assert read == [old, new], "a sink that is read further back is compared with all of that"

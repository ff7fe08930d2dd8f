from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import zstandard

from dispatch.sinks import file as file_module
from dispatch.sinks.file import FileSink
from store.spool import Record, SpoolReader
from tests.dispatch.conftest import Run, command, environment, usage_event, write


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_all_events_without_content(spool: Path, tmp_path: Path, dispatch: Run) -> None:
    written = write(spool, [usage_event(n) for n in range(20)])
    output = tmp_path / "out" / "events.jsonl"
    done = dispatch("--service", "file", "--output", str(output))
    assert done.returncode == 0, done.stderr
    assert "Sent 21 events" in done.stderr
    *found, last = lines(output)
    assert [event["event_id"] for event in found] == written
    assert (last["type"], last["last_seq"]) == ("llm_proxy_writer", 20)
    assert "SECRET" not in output.read_text()
    assert stat.S_IMODE(output.stat().st_mode) == 0o600


def test_content_on_request(spool: Path, tmp_path: Path, dispatch: Run) -> None:
    write(spool, [usage_event(1)])
    output = tmp_path / "events.jsonl"
    assert dispatch("--service", "file", "--output", str(output), "--include-content").returncode == 0
    assert lines(output)[0]["response"] == {"body": "SECRET answer"}


def test_half_a_line_of_a_killed_dispatcher_stays_alone(spool: Path, tmp_path: Path, dispatch: Run) -> None:
    written = write(spool, [usage_event(1)])
    output = tmp_path / "events.jsonl"
    output.write_bytes(b'{"half')
    assert dispatch("--service", "file", "--output", str(output)).returncode == 0
    half, event, _ = output.read_bytes().splitlines()
    assert half == b'{"half'
    assert json.loads(event)["event_id"] == written[0]


def test_a_place_that_cannot_be_written(spool: Path, tmp_path: Path, dispatch: Run) -> None:
    write(spool, [usage_event(1)])
    done = dispatch("--service", "file", "--output", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"Error: file {tmp_path}: Is a directory")


def test_no_spool(tmp_path: Path, dispatch: Run) -> None:
    done = dispatch("--service", "file", "--output", str(tmp_path / "x"))
    assert done.returncode == 1
    assert "there is no spool at" in done.stderr


def test_two_at_once(spool: Path, tmp_path: Path) -> None:
    """The second one of a consumer says who is at work, waits, and takes over."""
    written = write(spool, [usage_event(1)])
    output = tmp_path / "events.jsonl"
    with SpoolReader(spool, "file"):
        second = subprocess.Popen(
            command(spool, "--service", "file", "--output", str(output)),
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr is not None
        said = second.stderr.readline()
        assert f"(pid {os.getpid()})" in said
        assert "Waiting for it to end" in said
        assert not output.exists()
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert lines(output)[0]["event_id"] == written[0]


class Clock:
    """Stands in for the module `time`."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now


def send(sink: FileSink, *events: dict[str, Any]) -> None:
    records = [Record(b"", event, "s", number) for number, event in enumerate(events)]
    for parcel in sink.plan(records).parcels:
        assert sink.send(parcel) == []


def test_rotation_by_size_with_compression(tmp_path: Path) -> None:
    output = tmp_path / "events.jsonl"
    sink = FileSink(output, rotate_size=1000, zstd=True)
    events = [usage_event(n) for n in range(12)]
    for event in events:
        send(sink, event)
    rotated = sorted(tmp_path.glob("events-*"))
    assert len(rotated) > 2
    assert {path.suffix for path in rotated} == {".zst"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in rotated} == {0o600}
    text = b"".join(zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read() for path in rotated)
    found = [json.loads(line) for line in (text + output.read_bytes()).splitlines()]
    assert [event["event_id"] for event in found] == [event["event_id"] for event in events]


def test_rotation_by_time_and_how_many_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "events.jsonl"
    sink = FileSink(output, rotate_every=3600.0, keep=2)
    clock = Clock(1_800_000_000.0)
    monkeypatch.setattr(file_module, "time", clock)
    for hour in range(5):
        for _ in range(2):
            clock.now = 1_800_000_000.0 + 3600 * hour
            send(sink, usage_event(hour))
            os.utime(output, (clock.now, clock.now))
    assert [len(lines(path)) for path in sorted(tmp_path.glob("events-*"))] == [2, 2]
    assert [event["usage"]["input_tokens"] for event in lines(output)] == [4, 4]


def test_what_a_killed_rotation_left_behind_is_compressed_by_the_next(tmp_path: Path) -> None:
    output = tmp_path / "events.jsonl"
    left = tmp_path / "events-20260101T000000Z-0001.jsonl"
    left.write_bytes(b"{}\n")
    (tmp_path / "events-20260101T000000Z-0001.jsonl.zst.new").write_bytes(b"half")
    (tmp_path / "events-mine.jsonl").write_bytes(b"{}\n")
    sink = FileSink(output, rotate_size=1, zstd=True)
    send(sink, usage_event(1))
    send(sink, usage_event(2))
    assert not left.exists()
    done = left.with_name(left.name + ".zst").open("rb")
    assert zstandard.ZstdDecompressor().stream_reader(done).read() == b"{}\n"
    assert (tmp_path / "events-mine.jsonl").exists(), "not ours"

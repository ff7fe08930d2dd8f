from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from store.spool import SpoolReader, SpoolWriter
from tests.dispatch.conftest import Run, usage_event, write


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


def test_two_at_once(spool: Path, tmp_path: Path, dispatch: Run) -> None:
    """The second one of a consumer is told who is at work."""
    SpoolWriter(spool).close()
    with SpoolReader(spool, "file"):
        done = dispatch("--service", "file", "--output", str(tmp_path / "x"))
    assert done.returncode == 1
    assert f"(pid {os.getpid()})" in done.stderr

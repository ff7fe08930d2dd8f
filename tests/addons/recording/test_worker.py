"""The worker: what one call holds, or what the disk does, never costs another call its event."""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from addons.checks.history import History
from addons.flow.capture import Body
from addons.recording.exchange import Exchange
from addons.recording.settling import Settling
from addons.recording.worker import Worker
from store.core.errors import StoreUnavailable
from store.core.event import BaseRecord, UsageEvent
from store.database.engines import engine_of
from store.ledger import LedgerWorker
from store.spool import SpoolReader, SpoolWriter, open_spool
from store.spool.segment import segments
from store.spool.usage_checkpoint import UsageCheckpoint
from tests.live.harness import wait_for

JSON = [("content-type", "application/json")]


def exchange(body: bytes = b"{}", answer: bytes = b"{}") -> Exchange:
    now = time.monotonic()
    return Exchange(
        id=str(uuid7()),
        method="POST",
        host="api.openai.com",
        url="/v1/chat/completions",
        endpoint="chat",
        started_at=datetime.now(UTC),
        started=now,
        ended=now,
        outcome="ok",
        request_headers=JSON,
        request_body=Body(body),
        status=200,
        response_headers=JSON,
        response_body=Body(answer),
    )


class Disk(SpoolWriter):
    """A writer that fails on demand."""

    full = False

    def append(self, records: Sequence[Mapping[str, Any]]) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().append(records)


def settling(folder: Path, writer: str) -> Settling:
    engine = engine_of(folder / "store.db")
    engine.prepare()
    return Settling(LedgerWorker(engine), UsageCheckpoint(folder / "spool", writer), writer, History())


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "spool", with_journal=True)


@pytest.fixture
def worker(tmp_path: Path, disk: Disk) -> Iterator[Worker]:
    worker = Worker(disk, settling(tmp_path, disk.writer))
    yield worker
    worker.close()


def events(folder: Path) -> dict[str, dict[str, Any]]:
    with SpoolReader(folder, "test") as reader:
        return {
            record.value["event_id"]: record.value
            for record in reader.read().records
            if record.value["type"] == "llm_proxy_usage"
        }


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 50_000,
        b"[" * 900 + b"]" * 900,
        b'{"model": "\\ud83d", "x": NaN}',
        b"\xff\xfe\x00",
        b"",
    ],
)
def test_a_call_of_any_content_leaves_its_event(worker: Worker, tmp_path: Path, body: bytes) -> None:
    calls = [exchange(), exchange(body), exchange(answer=body), exchange()]
    for call in calls:
        worker.put(call)
    worker.close()
    found = events(tmp_path / "spool")
    assert found.keys() == {call.id for call in calls}
    is_json = body[:2] in (b"[[", b'{"') and not body.startswith(b'{"a":')
    unreadable = {calls[2].id: "http_error"} if body and not is_json else {}
    outcomes = {call.id: unreadable.get(call.id, "ok") for call in calls}
    assert {id_: event["outcome"] for id_, event in found.items()} == outcomes
    assert all(event["status"] == 200 for event in found.values())
    assert worker.healthy


def test_nesting_of_any_depth(worker: Worker, tmp_path: Path) -> None:
    """At some depths reading still works and writing does not; which, depends on the Python version."""
    plain = exchange(b'{"model": "gpt-4o"}')
    calls = [exchange(b'{"a":' * depth + b"NaN" + b"}" * depth) for depth in range(200, 2000, 10)] + [plain]
    for call in calls:
        worker.put(call)
    worker.close()
    assert worker.healthy
    found = events(tmp_path / "spool")
    assert found.keys() == {call.id for call in calls}
    assert found[plain.id]["model_requested"] == "gpt-4o", "what others do costs it nothing"


def test_a_full_disk_stops_calls_and_loses_none(
    worker: Worker, disk: Disk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = [exchange() for _ in range(3)]
    disk.full = True
    worker.put(calls[0])
    wait_for(lambda: not worker.healthy, "unhealthy")
    worker.put(calls[1])
    disk.full = False
    wait_for(lambda: worker.healthy, "healthy again")
    worker.put(calls[2])
    worker.close()
    assert events(tmp_path / "spool").keys() == {call.id for call in calls}
    assert caplog.text.count("new calls are refused until it can") == 1


def test_events_are_valid_json_of_one_line(worker: Worker, tmp_path: Path) -> None:
    worker.put(exchange(b'{"model": "\\ud800", "x": NaN, "y": "line\\u2028end\\n"}'))
    worker.close()
    (segment,) = (tmp_path / "spool").glob("*.jsonl")
    lines = segment.read_bytes().split(b"\n")
    assert len(lines) == 3, "an event, the writer's closing record, and nothing"

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(lines[0], parse_constant=refuse)["request"]["body"]["x"] is None


def dropped(folder: Path) -> list[int]:
    with SpoolReader(folder, "records") as reader:
        found = [record.value for record in reader.read().records]
    return [record["dropped"] for record in found if record["type"] == "llm_proxy_dropped"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Worker]:
    """A worker whose spool is at its limit from the first event on."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "others.jsonl").write_bytes(b'{"type": "x", "n": 1}\n' * 100)
    writer, _ = open_spool(tmp_path / "spool")
    worker = Worker(writer, settling(tmp_path, writer.writer))
    worker.pressure.limit = 1000
    wait_for(lambda: worker.pressure.full, "the limit is noticed before any call comes")
    yield worker
    worker.close()


def test_at_the_limit_refusals_are_counted_and_calls_under_way_recorded(
    small: Worker, tmp_path: Path
) -> None:
    assert small.refuses_calls
    under_way, refused = exchange(), exchange()
    refused.outcome, refused.error_code = "refused", "spool_full"
    small.put(under_way)
    small.put(refused)
    small.close()
    assert events(tmp_path / "spool").keys() == {under_way.id}
    assert dropped(tmp_path / "spool") == [1]


def test_dropped_events_are_counted_and_told_when_there_is_room(
    small: Worker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small.pressure.policy = "drop"
    assert not small.refuses_calls
    for _ in range(3):
        small.put(exchange())
    wait_for(lambda: small.pressure.dropped == 3, "dropped")
    assert "3 events dropped" in caplog.text or "1 events dropped" in caplog.text
    (tmp_path / "spool" / "others.jsonl").unlink()
    wait_for(lambda: not small.pressure.full, "room again")
    after = exchange()
    small.put(after)
    small.close()
    assert events(tmp_path / "spool").keys() == {after.id}
    assert dropped(tmp_path / "spool") == [3]


def test_what_waits_for_the_disk_is_told_when_it_is_done(worker: Worker, disk: Disk) -> None:
    call = exchange()
    call.recorded = Future()
    disk.full = True
    worker.put(call)
    wait_for(lambda: not worker.healthy, "unhealthy")
    assert not call.recorded.done()
    disk.full = False
    call.recorded.result(10)
    assert worker.healthy


def test_who_shows_events_gets_those_on_disk_and_can_break_nothing(worker: Worker, tmp_path: Path) -> None:
    told: list[str] = []

    def show(records: Sequence[BaseRecord]) -> None:
        told.extend(str(record.event_id) for record in records if isinstance(record, UsageEvent))
        raise RuntimeError("no screen")

    worker.on_recorded = show
    calls = [exchange() for _ in range(3)]
    for call in calls:
        worker.put(call)
    worker.close()
    lines = [line for file in (tmp_path / "spool").glob("*.jsonl") for line in file.read_text().splitlines()]
    written = [json.loads(line) for line in lines]
    ids = [record["event_id"] for record in written if record["type"] == "llm_proxy_usage"]
    assert sorted(told) == sorted(ids) == sorted(call.id for call in calls)


def test_a_folder_that_is_removed_is_noticed_and_begun_anew(
    worker: Worker, disk: Disk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also without a call; what comes then has its event, and so have calls that were under way."""
    spool = tmp_path / "spool"
    assert disk.journal is not None
    before, under_way, later = exchange(), exchange(), exchange()
    worker.put(before)
    wait_for(lambda: worker.recorded == 1, "the first event")
    disk.journal.opened({"event_id": under_way.id})
    spool.rename(tmp_path / "moved away")
    wait_for(lambda: "new calls are refused until it can" in caplog.text, "the loss is noticed")
    wait_for(lambda: worker.healthy, "a new folder")
    (journal,) = (spool / "journal").glob("*.open")
    assert under_way.id in journal.read_text(), "the proxy may die now"
    worker.put(under_way)
    worker.put(later)
    worker.close()
    assert events(spool).keys() == {under_way.id, later.id}
    assert events(tmp_path / "moved away").keys() == {before.id}


def test_no_event_is_written_into_a_folder_that_nobody_finds(
    worker: Worker, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at with each group, too: not only now and then."""
    monkeypatch.setattr(worker, "_look_after_spool", lambda: None)
    shutil.rmtree(tmp_path / "spool")
    call = exchange()
    worker.put(call)
    worker.close()
    assert events(tmp_path / "spool").keys() == {call.id}


def test_a_full_disk_ends_the_segment_so_that_reading_it_makes_room(
    worker: Worker, disk: Disk, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    worker.put(exchange())
    wait_for(lambda: worker.recorded == 1, "the first event")
    disk.full = True
    worker.put(exchange())
    wait_for(lambda: not worker.healthy, "unhealthy")
    with SpoolReader(spool, "test") as reader:
        reader.commit(reader.read())
        wait_for(reader.reclaim, "the segment is removed")
    disk.full = False
    wait_for(lambda: worker.healthy, "healthy again")
    assert len(segments(spool)) == 1, "a segment was begun anew"


def test_a_spool_at_its_limit_ends_the_segment_too(worker: Worker, tmp_path: Path) -> None:
    worker.pressure.limit = 1
    worker.put(exchange())
    wait_for(lambda: worker.refuses_calls, "full")
    with SpoolReader(tmp_path / "spool", "test") as reader:
        reader.commit(reader.read())
        wait_for(reader.reclaim, "the segment is removed")
        wait_for(lambda: not worker.refuses_calls, "room again")
    assert worker.recorded == 1


def test_who_waits_for_an_event_that_comes_too_late_is_told(worker: Worker) -> None:
    worker.close()
    late = exchange()
    late.recorded = Future()
    worker.put(late)
    assert isinstance(late.recorded.exception(0), StoreUnavailable)
    assert not worker.healthy

"""Every call that was opened ends as exactly one event, whenever its writer dies and whoever closes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.core.event import Cost, UsageEvent
from store.spool import SpoolReader, SpoolWriter, close_dead_writers, open_spool
from store.spool.closing import died, read_journal
from store.spool.journal import Journal, journals
from tests.store.test_spool import drain, segments


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def opening(id_: str) -> dict[str, Any]:
    return {"event_id": id_, "timestamp": "2026-05-01T12:00:00.000Z", "model": "gpt-4o", "usage": None}


def event(id_: str) -> dict[str, Any]:
    return {"type": "llm_proxy_usage", "event_id": id_, "outcome": "ok"}


def die(writer: SpoolWriter, journal: Journal) -> None:
    """What the kernel does for a killed process: it closes the files, and so frees their locks."""
    os.close(writer._descriptor or 0)
    os.close(journal._descriptor)


def outcomes(records: list[dict[str, Any]]) -> dict[str, str]:
    calls = [record for record in records if record["type"] == "llm_proxy_usage"]
    assert len({call["event_id"] for call in calls}) == len(calls), "an event twice"
    return {call["event_id"]: call["outcome"] for call in calls}


def test_calls_of_a_dead_writer_become_events(spool: Path) -> None:
    writer, journal = open_spool(spool)
    for id_ in "abc":
        journal.opened(opening(id_))
    writer.append([event("a")])
    assert close_dead_writers(spool) == 0, "it lives"
    die(writer, journal)
    assert close_dead_writers(spool) == 2
    assert close_dead_writers(spool) == 0
    found = drain(spool)
    assert outcomes(found) == {"a": "ok", "b": "proxy_died", "c": "proxy_died"}
    *calls, last = found
    assert [call["seq"] for call in calls] == [1, 2, 3], "numbered on, in its own writer's name"
    assert {record["writer"] for record in found} == {writer.writer}
    assert (last["last_seq"], last["opened"], last["unrecorded"], last["died"]) == (3, 3, 0, 2)
    assert journals(spool) == []


def test_an_event_whose_mark_is_missing_is_not_made_twice(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the write of the events and the mark in the journal."""
    writer, journal = open_spool(spool)
    journal.opened(opening("a"))
    journal.opened(opening("b"))
    with monkeypatch.context() as patch:
        patch.setattr(journal, "recorded", lambda ids, sequence: None)
        writer.append([{**event("a"), "text": '"event_id":"b"'}])
    die(writer, journal)
    assert close_dead_writers(spool) == 1
    assert outcomes(drain(spool)) == {"a": "ok", "b": "proxy_died"}


def test_a_torn_event_is_no_event(spool: Path) -> None:
    writer, journal = open_spool(spool)
    journal.opened(opening("a"))
    with segments(spool)[0].open("ab") as file:
        file.write(b'{"type":"llm_proxy_usage","event_id":"a","outc')
    die(writer, journal)
    assert close_dead_writers(spool) == 1
    assert outcomes(drain(spool)) == {"a": "proxy_died"}


def test_closing_that_was_cut_off_is_finished_by_the_next(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, journal = open_spool(spool)
    journal.opened(opening("a"))
    die(writer, journal)

    def cut(self: Path, missing_ok: bool = False) -> None:
        raise OSError(5, "killed here")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", cut)
        with pytest.raises(OSError, match="killed here"):
            close_dead_writers(spool)
    found = drain(spool)
    assert outcomes(found) == {"a": "proxy_died"}
    with SpoolReader(spool, "test") as reader:
        assert reader.reclaim() == 2, "closes it, and only then removes the segment that says so"
    assert outcomes(drain(spool)) == {}
    assert journals(spool) == []


def test_the_last_segment_of_an_unclosed_writer_is_kept(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, journal = open_spool(spool)
    journal.opened(opening("a"))
    with monkeypatch.context() as patch:
        patch.setattr(journal, "recorded", lambda ids, sequence: None)
        writer.append([event("a")])
    os.close(writer._descriptor or 0)  # its segment is free, its journal still held: it is about to end
    assert outcomes(drain(spool)) == {"a": "ok"}
    with SpoolReader(spool, "test") as reader:
        assert reader.reclaim() == 0
        os.close(journal._descriptor)
        assert reader.reclaim() == 1, "closed; what was read before is removed"
    assert outcomes(drain(spool)) == {}


def test_a_reload_hands_the_open_calls_over(spool: Path) -> None:
    """The process lives on with another writer: its calls are not over."""
    first, old = open_spool(spool)
    old.opened(opening("a"))
    old.opened(opening("b"))
    first.append([event("a")])
    first.close()
    assert close_dead_writers(spool) == 0, "the process lives"
    second, _ = open_spool(spool)
    assert len(journals(spool)) == 1
    second.append([event("b")])
    second.close()
    found = drain(spool)
    assert outcomes(found) == {"a": "ok", "b": "ok"}
    closing = [record for record in found if record["type"] == "llm_proxy_writer"]
    assert [(record["opened"], record["unrecorded"]) for record in closing] == [(2, 1), (1, 0)]
    assert journals(spool) == []


def test_a_journal_stays_small(spool: Path) -> None:
    writer = SpoolWriter(spool)
    journal = Journal(spool, writer.writer, journal_bytes=10_000)
    journal.opened(opening("stays"))
    for number in range(2000):
        journal.opened(opening(str(number)))
        journal.recorded([str(number)], number + 1)
        (path,) = journals(spool)
        assert path.stat().st_size < 11_000
    assert journal.counts == {"opened": 2001, "unrecorded": 1}
    os.close(writer._descriptor or 0)
    os.close(journal._descriptor)
    assert close_dead_writers(spool) == 1
    *_, last = drain(spool)
    assert (last["opened"], last["last_seq"]) == (2001, 2001)


def test_a_line_that_a_full_disk_cut_short_spoils_no_other(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, journal = open_spool(spool)
    journal.opened(opening("a"))
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[: len(data) // 2]))
        with pytest.raises(OSError, match="cut short"):
            journal.opened(opening("refused"))
    journal.opened(opening("b"))
    die(writer, journal)
    close_dead_writers(spool)
    assert outcomes(drain(spool)) == {"a": "proxy_died", "b": "proxy_died"}


def test_price_of_what_is_known(spool: Path) -> None:
    writer, journal = open_spool(spool)
    journal.opened({**opening("a"), "usage": {"input_tokens": 7}})
    journal.opened(opening("b"))
    die(writer, journal)

    def price(event: UsageEvent) -> Cost:
        assert event.usage is not None
        return Cost(usd=str(event.usage.input_tokens), price_source="test")

    close_dead_writers(spool, price)
    known, unknown, _ = drain(spool)
    assert known["cost"] == {"usd": "7", "price_source": "test"}
    assert unknown["cost"] is None
    assert "not known" in unknown["usage_missing"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("oooaat"), max_size=60), st.integers(200, 3000), st.integers(1, 4))
def test_any_life_and_any_number_of_closers(steps: list[str], journal_bytes: int, closers: int) -> None:
    """Open, append, tear the last line, in any order; then die; then several close at once."""
    folder = Path(tempfile.mkdtemp())
    try:
        writer = SpoolWriter(folder, segment_bytes=300)
        journal = writer.journal = Journal(folder, writer.writer, journal_bytes=journal_bytes)
        waiting: list[str] = []
        opened = 0
        for step in steps:
            if step == "o":
                opened += 1
                waiting.append(f"call-{opened}")
                journal.opened(opening(waiting[-1]))
            elif step == "a" and waiting:
                writer.append([event(waiting.pop(0))])
        if "t" in steps:
            os.write(writer._descriptor or 0, b'{"type":"llm_proxy_usage","event_id":"call-1","seq":9')
            os.write(journal._descriptor, b'{"type":"llm_proxy_open","event_id":"never')
        die(writer, journal)
        done: list[int] = []
        threads = [
            threading.Thread(target=lambda: done.append(close_dead_writers(folder))) for _ in range(closers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = drain(folder)
        assert outcomes(found) == {
            f"call-{n}": "proxy_died" if f"call-{n}" in waiting else "ok" for n in range(1, opened + 1)
        }
        assert sum(done) == len(waiting)
        calls = [record for record in found if record["type"] == "llm_proxy_usage"]
        assert [call["seq"] for call in calls] == list(range(1, opened + 1))
        assert journals(folder) == []
    finally:
        shutil.rmtree(folder)


KILLED = """
import sys, pathlib
from store.spool import open_spool
from store.spool.journal import Journal
writer, journal = open_spool(pathlib.Path(sys.argv[1]))
number = 0
while True:
    ids = [f"{writer.writer}-{number + n}" for n in range(5)]
    number += 5
    for id_ in ids:
        journal.opened({"event_id": id_, "usage": None, "text": "x" * 3000})
        print(id_, flush=True)
    writer.append([{"type": "llm_proxy_usage", "event_id": id_, "outcome": "ok"} for id_ in ids])
"""


@pytest.mark.slow
@pytest.mark.once
def test_kill_9_at_any_moment(spool: Path) -> None:
    promised: list[str] = []
    spool.mkdir()
    for pause in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(spool)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        promised += [process.stdout.readline().strip() for _ in range(1 + 7 * pause)]
        process.kill()
        promised += [line.strip() for line in process.stdout if line.endswith("\n")]
        process.wait(10)
        close_dead_writers(spool)
    found = Counter(record["event_id"] for record in drain(spool) if record["type"] == "llm_proxy_usage")
    assert set(found.values()) == {1}
    assert set(promised) <= found.keys()
    letters = [line for path in spool.glob("dead/*") for line in path.read_bytes().splitlines()]
    assert all(json.loads(line)["reason"].startswith("torn") for line in letters)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=6))
def test_a_journal_that_the_disk_changed(at: int, other: bytes) -> None:
    """It stops nobody, and no call that has its event gets another one."""
    folder = Path(tempfile.mkdtemp())
    try:
        writer, journal = open_spool(folder)
        for number in range(6):
            journal.opened(opening(f"call-{number}"))
        for number in range(3):
            writer.append([event(f"call-{number}")])
        die(writer, journal)
        (path,) = journals(folder)
        data = bytearray(path.read_bytes())
        place = at % (len(data) - len(other))
        data[place : place + len(other)] = other
        path.write_bytes(data)
        close_dead_writers(folder)
        assert journals(folder) == []
        found = outcomes(drain(folder))
        assert {id_ for id_, outcome in found.items() if outcome == "ok"} == {f"call-{n}" for n in range(3)}
    finally:
        shutil.rmtree(folder)


def test_calls_that_were_never_sent_say_so(spool: Path) -> None:
    """By a mark in the journal, which a new file carries over; older journals do not say."""
    spool.mkdir()
    writer = Journal(spool, "0197", journal_bytes=1)
    for id_ in ("old", "never", "sent", "carried"):
        known = {"usage": {"input_tokens": 3}}
        writer.opened({"event_id": id_, **known, **({} if id_ == "old" else {"sent": False})})
    writer.sent("carried")
    writer.recorded(["nothing"], 0)  # begins a new file
    writer.sent("sent")
    writer.sent("unknown")
    found = read_journal(journals(spool)).pending
    assert {id_: record.get("sent") for id_, record in found.items()} == {
        "old": None,
        "never": False,
        "sent": True,
        "carried": True,
    }
    events = {id_: died(record, None) for id_, record in found.items()}
    assert {id_: event["usage_missing_code"] for id_, event in events.items()} == {
        "old": "proxy_died",
        "never": "not_sent",
        "sent": "proxy_died",
        "carried": "proxy_died",
    }
    assert (events["never"]["usage"], events["sent"]["usage"]) == (None, {"input_tokens": 3})
    assert all("sent" not in event for event in events.values())


def test_a_mark_that_could_not_be_written_goes_out_with_the_next_line(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.mkdir()
    writer = Journal(spool, "0197")
    writer.opened({"event_id": "a", "sent": False})
    with monkeypatch.context() as full:
        full.setattr("store.spool.journal._write_at_once", refuse)
        writer.sent("a")
    assert not read_journal(journals(spool)).pending["a"]["sent"]
    writer.opened({"event_id": "b", "sent": False})
    assert {id_: record["sent"] for id_, record in read_journal(journals(spool)).pending.items()} == {
        "a": True,
        "b": False,
    }


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")

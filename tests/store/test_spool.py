from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.core.errors import SpoolError
from store.spool import SpoolReader, SpoolWriter


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def drain(spool: Path, consumer: str = "test", **limits: int) -> list[dict[str, Any]]:
    with SpoolReader(spool, consumer) as reader:
        found = []
        while batch := reader.read(**limits):
            found += [record.value for record in batch.records]
            reader.commit(batch)
        return found


def calls(records: list[dict[str, Any]]) -> list[Any]:
    return [record["n"] for record in records if "n" in record]


def numbered(*numbers: int) -> list[dict[str, Any]]:
    return [{"n": number} for number in numbers]


def segments(spool: Path) -> list[Path]:
    return sorted(spool.glob("*.jsonl"))


def test_written_records_are_read_in_order_and_once(spool: Path) -> None:
    writer = SpoolWriter(spool)
    assert writer.append(numbered(1, 2)) == 2
    assert writer.append(numbered(3)) == 3
    assert calls(drain(spool)) == [1, 2, 3], "while the writer is alive"
    writer.append(numbered(4))
    writer.close()
    *rest, last = drain(spool)
    assert [(record["n"], record["seq"], record["writer"]) for record in rest] == [(4, 4, writer.writer)]
    assert (last["type"], last["last_seq"]) == ("llm_proxy_writer", 4)
    assert drain(spool) == []


def test_consumers_do_not_disturb_each_other(spool: Path) -> None:
    writer = SpoolWriter(spool)
    writer.append(numbered(1))
    assert calls(drain(spool, "one")) == calls(drain(spool, "two")) == [1]
    writer.close()


def test_files_are_private(spool: Path) -> None:
    before = os.umask(0)
    try:
        writer = SpoolWriter(spool)
        writer.append(numbered(1))
        writer.close()
        segments(spool)[0].open("ab").write(b"no json\n")
        drain(spool)
    finally:
        os.umask(before)
    for path in [spool, *spool.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_writer_without_records_leaves_nothing(spool: Path) -> None:
    SpoolWriter(spool).close()
    assert segments(spool) == []


def test_what_is_not_committed_comes_again(spool: Path) -> None:
    writer = SpoolWriter(spool)
    writer.append(numbered(*range(10)))
    with SpoolReader(spool, "test") as reader:
        assert len(reader.read(max_events=4).records) == 4
        batch = reader.read(max_events=3)
        assert [record.value["n"] for record in batch.records] == [0, 1, 2]
        reader.commit(batch)
    assert calls(drain(spool)) == [3, 4, 5, 6, 7, 8, 9]
    writer.close()


def test_limits_of_a_batch(spool: Path) -> None:
    writer = SpoolWriter(spool)
    writer.append([{"n": number, "text": "x" * 1000} for number in range(20)])
    writer.append([{"n": 20, "text": "x" * 5_000_000}])
    writer.append(numbered(21))
    with SpoolReader(spool, "test") as reader:
        sizes = []
        while batch := reader.read(max_bytes=4096):
            sizes.append(len(batch.records))
            reader.commit(batch)
    assert sum(sizes) == 22
    assert max(sizes) <= 4
    writer.close()


def test_a_consumer_works_in_one_process_only(spool: Path) -> None:
    SpoolWriter(spool).close()
    with (
        SpoolReader(spool, "test"),
        pytest.raises(SpoolError, match=rf"at work in another process \(pid {os.getpid()}\)"),
    ):
        SpoolReader(spool, "test")
    SpoolReader(spool, "test").close()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65])
def test_bad_consumer_names(spool: Path, name: str) -> None:
    SpoolWriter(spool).close()
    with pytest.raises(SpoolError, match="consumer"):
        SpoolReader(spool, name)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="there is no spool at"):
        SpoolReader(tmp_path / "typo", "test")


def test_a_torn_line_is_put_aside_and_blocks_nothing(spool: Path) -> None:
    first = SpoolWriter(spool)
    first.append(numbered(1))
    with segments(spool)[0].open("ab") as file:
        file.write(b'{"n": 2, "half')
    assert calls(drain(spool)) == [1], "its writer is alive: the line may still be finished"
    assert not (spool / "dead").exists()
    os.close(first._descriptor or 0)  # as the kernel does for a killed process
    second = SpoolWriter(spool)
    second.append(numbered(3))
    assert calls(drain(spool)) == [3]
    second.close()
    letters = [json.loads(line) for line in (spool / "dead" / "test.jsonl").read_bytes().splitlines()]
    assert [(letter["line"], letter["reason"][:5]) for letter in letters] == [('{"n": 2, "half', "torn:")]
    drain(spool)
    with SpoolReader(spool, "test") as reader:
        assert reader.backlog() == 0
        assert reader.reclaim() == 2


def test_lines_that_are_no_records_are_put_aside(spool: Path) -> None:
    spool.mkdir()
    (spool / "other.jsonl").write_bytes(b'{"n": 1}\nnot json\n[1]\n\n\xff\xfe\n{"n": 2}\n')
    assert calls(drain(spool)) == [1, 2]
    assert len((spool / "dead" / "test.jsonl").read_bytes().splitlines()) == 3, "a blank line is none"


def test_segments_end_by_size_and_age(spool: Path) -> None:
    writer = SpoolWriter(spool, segment_bytes=100)
    for number in range(6):
        writer.append([{"n": number, "text": "x" * 60}])
    writer.close()
    assert len(segments(spool)) >= 6
    aged = SpoolWriter(spool, segment_seconds=0)
    aged.append(numbered(6))
    aged.append(numbered(7))
    aged.close()
    assert calls(drain(spool)) == list(range(8))


def test_reclaim_waits_for_every_consumer_and_for_the_writer(spool: Path) -> None:
    writer = SpoolWriter(spool, segment_bytes=10)
    writer.append(numbered(1))
    writer.append(numbered(2))  # ends the first segment
    with SpoolReader(spool, "fast") as fast, SpoolReader(spool, "slow") as slow:
        while batch := fast.read():
            fast.commit(batch)
        assert fast.reclaim() == 0, "slow has not read it"
        slow.commit(slow.read(max_events=1))
        assert fast.reclaim() == 1
        assert [record.value["n"] for record in slow.read().records] == [2]
        assert fast.backlog() == 0
        assert slow.backlog() > 0
    writer.close()


def test_many_writers_share_a_folder_and_none_starves(spool: Path) -> None:
    writers = [SpoolWriter(spool) for _ in range(3)]
    for number, writer in enumerate(writers):
        writer.append(numbered(*range(number * 100, number * 100 + 50)))
    with SpoolReader(spool, "test") as reader:
        seen = set()
        for _ in range(3):
            batch = reader.read(max_events=10)
            seen |= {record.value["writer"] for record in batch.records}
            reader.commit(batch)
    assert seen == {writer.writer for writer in writers}
    for writer in writers:
        writer.close()


def test_a_failed_write_leaves_no_trace(spool: Path) -> None:
    """The file size limit stands for a full disk: part of the group fits."""
    writer = SpoolWriter(spool)
    writer.append(numbered(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        for _ in range(2):
            with pytest.raises(OSError, match="too large"):
                writer.append([{"n": 2, "text": "x" * 500}, {"n": 3, "text": "x" * 5000}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert writer.append(numbered(2, 3)) == 3
    writer.close()
    assert calls(drain(spool)) == [1, 2, 3]
    assert not (spool / "dead").exists()


def test_a_failed_sync_is_repeated_in_a_new_segment(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SpoolWriter(spool)
    writer.append(numbered(1))

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="Input/output"):
            writer.append(numbered(2))
    assert writer.append(numbered(2)) == 2
    writer.close()
    assert len(segments(spool)) == 2
    assert calls(drain(spool)) == [1, 2]


def test_a_cursor_that_cannot_be_read_sends_all_again(spool: Path) -> None:
    writer = SpoolWriter(spool)
    writer.append(numbered(1))
    drain(spool)
    (spool / "cursors" / "test.json").write_text("{broken")
    assert calls(drain(spool)) == [1]
    writer.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(JSON, min_size=1, max_size=4), max_size=4), st.integers(1, 5), st.integers(1, 300))
def test_whatever_is_written_comes_back(groups: list[list[Any]], max_events: int, max_bytes: int) -> None:
    """Any values, in any grouping, through any batch size: all of them, in order, as valid UTF-8 JSON."""
    folder = Path(tempfile.mkdtemp())
    try:
        writer = SpoolWriter(folder, segment_bytes=200)
        for group in groups:
            writer.append([{"n": value} for value in group])
        writer.close()
        found = [
            record for record in drain(folder, max_events=max_events, max_bytes=max_bytes) if "n" in record
        ]
        expected = [value for group in groups for value in group]
        assert [record["seq"] for record in found] == list(range(1, len(expected) + 1))
        assert [json.dumps(record["n"]) for record in found] == [plain(value) for value in expected]
        assert not (folder / "dead").exists()
    finally:
        shutil.rmtree(folder)


def plain(value: Any) -> str:
    """The value as JSON knows it: not-a-number is null."""
    return json.dumps(json.loads(json.dumps(value), parse_constant=lambda name: None))


KILLED_WRITER = """
import sys, pathlib
from store.spool import SpoolWriter
writer = SpoolWriter(pathlib.Path(sys.argv[1]), segment_bytes=200_000)
number = 0
while True:
    group = [{"event_id": f"{writer.writer}-{number + n}", "text": "x" * 997 * n} for n in range(1, 20)]
    number += len(group)
    print(writer.writer, writer.append(group), flush=True)
"""


@pytest.mark.slow
@pytest.mark.once
def test_kill_9_of_writers_while_a_reader_reads(spool: Path) -> None:
    """What was reported as written is read, each once, and nothing of what a kill tore is handed out."""
    rng = random.Random(5)
    spool.mkdir()
    promised: dict[str, int] = {}
    found: list[dict[str, Any]] = []
    with SpoolReader(spool, "test") as reader:
        for _ in range(15):
            process = subprocess.Popen(
                [sys.executable, "-c", KILLED_WRITER, str(spool)], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout
            lines = [process.stdout.readline()]
            time.sleep(rng.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            lines += [line for line in process.stdout if line.endswith("\n")]
            process.wait(10)
            writer, last = lines[-1].split()
            promised[writer] = int(last)
            while batch := reader.read(max_events=rng.randint(1, 500)):
                found += [record.value for record in batch.records]
                reader.commit(batch)
            reader.reclaim()
        assert reader.backlog() == 0
    assert segments(spool) == []
    assert len({record["event_id"] for record in found}) == len(found)
    for writer, last in promised.items():
        numbers = [record["seq"] for record in found if record["writer"] == writer]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= last


def test_reading_ahead_of_a_batch_that_is_not_committed(tmp_path: Path) -> None:
    with contextlib.closing(SpoolWriter(tmp_path)) as writer:
        writer.append([{"n": n} for n in range(6)])
        with SpoolReader(tmp_path, "c") as reader:
            first = reader.read(max_events=2)
            second = reader.read(max_events=2, after=first.offsets)
            assert [record.value["n"] for record in second.records] == [2, 3]
            assert reader.read(max_events=2).lines == first.lines, "nothing has moved"
            reader.commit(first)
            assert reader.read(max_events=2).lines == second.lines
            reader.commit(second)
            assert [record.value["n"] for record in reader.read().records] == [4, 5]

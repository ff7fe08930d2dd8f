"""No segment goes before the store has taken in what it holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from store.spool import SpoolReader, SpoolWriter, usage_checkpoint
from store.spool.usage_checkpoint import UsageCheckpoint


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def drain(spool: Path) -> int:
    """Read all, and tidy up; the number of segments that are left."""
    with SpoolReader(spool, "test") as reader:
        while batch := reader.read():
            reader.commit(batch)
        reader.reclaim()
    return len(list(spool.glob("*.jsonl")))


def test_a_finished_segment_of_a_living_writer(spool: Path) -> None:
    writer = SpoolWriter(spool, segment_bytes=1)
    mark = UsageCheckpoint(spool, writer.writer)
    for number in range(1, 4):
        writer.append([{"n": number}])
    assert drain(spool) == 3
    mark.move(1)
    assert drain(spool) == 2
    mark.move(3)
    assert drain(spool) == 1, "the last one is being written"
    writer.close()
    mark.close(whole=True)
    assert drain(spool) == 0
    assert usage_checkpoint.behind(spool) == {}


def test_a_writer_that_ended_before_the_store_had_all(spool: Path) -> None:
    writer = SpoolWriter(spool)
    mark = UsageCheckpoint(spool, writer.writer)
    writer.append([{"n": 1}, {"n": 2}])
    writer.close()
    mark.move(1)
    mark.close(whole=False)
    assert usage_checkpoint.behind(spool) == {writer.writer: 0}
    assert drain(spool) == 1
    with pytest.raises(ZeroDivisionError), usage_checkpoint.adopted(spool, writer.writer) as mine:  # noqa: PT012
        assert mine
        raise ZeroDivisionError
    assert drain(spool) == 1, "it was not taken in"
    with usage_checkpoint.adopted(spool, writer.writer) as mine:
        assert mine
    assert drain(spool) == 0


def test_a_writer_that_was_killed_is_kept_though_a_dispatcher_has_closed_it(spool: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from store.spool import open_spool; "
        "from store.spool.usage_checkpoint import UsageCheckpoint; spool = Path(sys.argv[1]); "
        "writer, journal = open_spool(spool); mark = UsageCheckpoint(spool, writer.writer); "
        "journal.opened({'event_id': 'a'}); journal.opened({'event_id': 'b'}); "
        "writer.append([{'event_id': 'a'}]); mark.move(1); print(writer.writer, flush=True); os._exit(9)"
    )
    run = subprocess.run([sys.executable, "-c", code, spool], capture_output=True, text=True, check=False)
    writer = run.stdout.strip()
    with usage_checkpoint.adopted(spool, writer) as mine:
        assert mine
    assert usage_checkpoint.behind(spool) == {writer: 0}, "its second call has no event yet"
    assert drain(spool) == 2, "its own segment, and that with the event of the call that it left open"
    with usage_checkpoint.adopted(spool, writer) as mine:
        assert mine
    assert drain(spool) == 0


def test_two_never_take_in_the_same_writer(spool: Path) -> None:
    writer = SpoolWriter(spool)
    mark = UsageCheckpoint(spool, writer.writer)
    with usage_checkpoint.adopted(spool, writer.writer) as mine:
        assert not mine, "it lives"
    mark.close(whole=False)
    with (
        usage_checkpoint.adopted(spool, writer.writer) as first,
        usage_checkpoint.adopted(spool, writer.writer) as second,
    ):
        assert (first, second) == (True, False)
    with usage_checkpoint.adopted(spool, writer.writer) as mine:
        assert not mine, "it is done"


def test_writers_that_the_store_does_not_count_are_tidied_up_as_ever(spool: Path) -> None:
    writer = SpoolWriter(spool)
    writer.append([{"n": 1}])
    writer.close()
    assert drain(spool) == 0


@pytest.mark.parametrize("size", [10, 2**20, 5 * 2**20])
def test_the_last_number_of_a_segment(tmp_path: Path, size: int) -> None:
    path = tmp_path / "w.jsonl"
    lines = [json.dumps({"seq": n, "text": "x" * size}) for n in (1, 2)]
    path.write_text("\n".join([*lines, "not JSON", " " * 20, '{"seq": 3, "torn']))
    assert usage_checkpoint.last_number(path) == 2
    path.write_text('{"type": "llm_proxy_writer", "last_seq": 7}\n')
    assert usage_checkpoint.last_number(path) == 7
    path.write_text('{"seq": 1')
    assert usage_checkpoint.last_number(path) == 0

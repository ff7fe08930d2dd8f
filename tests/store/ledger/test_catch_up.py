"""What is only in the spool gets into the store, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from uuid_utils import uuid7

from store.engine import engine_of
from store.errors import StoreUnavailable
from store.ledger import Clerk
from store.ledger import catch_up as catching_up
from store.ledger.catch_up import batches_after, catch_up
from store.ledger.finished import finished_of
from store.reports import Usage, usage
from store.spool import SpoolReader, SpoolWriter, rolled
from store.spool.rolled import RolledMark
from tests.store.ledger.conftest import Ledger
from tests.store.test_rollups import event

WAIT = 30


def events(number: int) -> list[dict[str, Any]]:
    return [event(event_id=str(uuid7()), status=200) for _ in range(number)]


@pytest.fixture
def spool(tmp_path: Path, path: Path) -> Path:
    return tmp_path / "spool"


def killed(spool: Path, *batches: list[dict[str, Any]], segment_bytes: int = 2**20) -> str:
    """A writer that ended, and the store has none of it."""
    writer = SpoolWriter(spool, segment_bytes=segment_bytes)
    mark = RolledMark(spool, writer.writer)
    for batch in batches:
        writer.append(batch)
    writer.close()
    mark.close(whole=False)
    return writer.writer


def calls(path: Path) -> int:
    connection = engine_of(path).connect()
    rows = usage(connection, Usage())
    connection.close()
    return sum(row["calls"] for row in rows)


def test_what_dead_writers_left_is_counted_once(ledger: Ledger, clerk: Clerk, spool: Path) -> None:
    others = [{"type": "llm_proxy_dropped", "dropped": 3}]
    killed(spool, events(3), others, events(4), segment_bytes=1)
    killed(spool, events(700))
    engine = engine_of(ledger.path)
    assert catch_up(spool, engine, clerk) == 707
    assert calls(ledger.path) == 707
    assert rolled.behind(spool) == {}
    assert catch_up(spool, engine, clerk) == 0
    with SpoolReader(spool, "test") as reader:
        while batch := reader.read():
            reader.commit(batch)
        reader.reclaim()
    assert list(spool.glob("*.jsonl")) == []


def test_only_what_the_store_does_not_have_is_taken(ledger: Ledger, clerk: Clerk, spool: Path) -> None:
    first = events(5)
    writer = killed(spool, first, events(2))
    counted = [finished_of(each, seq=number) for number, each in enumerate(first[:3], 1)]
    clerk.finish([each for each in counted if each], writer).result(WAIT)
    assert catch_up(spool, engine_of(ledger.path), clerk) == 4
    assert calls(ledger.path) == 7


def test_lines_that_are_damaged_or_there_twice(ledger: Ledger, clerk: Clerk, spool: Path) -> None:
    killed(spool, events(3))
    (segment,) = spool.glob("*.jsonl")
    first, second, third, *_ = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(first + second + second + first + b"no JSON\n" + third + third[:50])
    assert catch_up(spool, engine_of(ledger.path), clerk) == 3
    assert calls(ledger.path) == 3


def test_a_store_that_is_away(ledger: Ledger, clerk: Clerk, spool: Path) -> None:
    writer = killed(spool, events(3))
    away = ledger.path.with_suffix(".away")
    ledger.path.rename(away)
    with pytest.raises(StoreUnavailable):
        catch_up(spool, engine_of(ledger.path), clerk)
    assert rolled.behind(spool) == {writer: 0}
    away.rename(ledger.path)
    assert catch_up(spool, engine_of(ledger.path), clerk) == 3


def test_one_writer_that_cannot_be_read_does_not_stop_the_others(
    ledger: Ledger, clerk: Clerk, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = killed(spool, events(1))
    killed(spool, events(2))
    (segment,) = spool.glob(f"{bad}*.jsonl")
    segment.unlink()
    segment.mkdir()
    assert catch_up(spool, engine_of(ledger.path), clerk) == 2
    assert rolled.behind(spool) == {bad: 0}
    assert "could not be counted" in caplog.text


def test_a_living_writer_is_left_alone(ledger: Ledger, clerk: Clerk, spool: Path) -> None:
    writer = SpoolWriter(spool)
    mark = RolledMark(spool, writer.writer)
    writer.append(events(1))
    assert catch_up(spool, engine_of(ledger.path), clerk) == 0
    writer.close()
    mark.close(whole=False)
    assert catch_up(spool, engine_of(ledger.path), clerk) == 1


def test_a_line_that_is_being_written_is_left_for_later(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = killed(spool, events(3))
    (segment,) = spool.glob("*.jsonl")
    first, second, rest = segment.read_bytes().split(b"\n", 2)
    segment.write_bytes(first + b"\n" + second[:50])
    parse = catching_up._record

    def slowly(line: bytes) -> Any:
        """The writer goes on as soon as half a line was looked at."""
        if (found := parse(line)) is None:
            segment.write_bytes(b"\n".join([first, second, rest]))
        return found

    monkeypatch.setattr(catching_up, "_record", slowly)
    assert [call.seq for batch in batches_after(spool, writer, 0) for call in batch] == [1]
    segment.write_bytes(b"\n".join([first, second, rest]))
    assert [call.seq for batch in batches_after(spool, writer, 1) for call in batch] == [2, 3]

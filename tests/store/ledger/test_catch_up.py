"""What is only in the spool gets into the store, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from uuid_utils import uuid7

from store.core.errors import StoreUnavailable
from store.database.engines import engine_of
from store.ledger import LedgerWorker
from store.ledger import catch_up as catching_up
from store.ledger.catch_up import batches_after, catch_up
from store.ledger.finished import finished_of
from store.spool import SpoolReader, SpoolWriter, usage_checkpoint
from store.spool.usage_checkpoint import UsageCheckpoint
from store.usage.reports import Usage, usage
from tests.events import typed
from tests.store.ledger.conftest import Ledger
from tests.store.usage.test_rollups import event

WAIT = 30


def events(number: int) -> list[dict[str, Any]]:
    return [event(event_id=str(uuid7()), status=200) for _ in range(number)]


@pytest.fixture
def spool(tmp_path: Path, path: Path) -> Path:
    return tmp_path / "spool"


def killed(spool: Path, *batches: list[dict[str, Any]], segment_bytes: int = 2**20) -> str:
    """A writer that ended, and the store has none of it."""
    writer = SpoolWriter(spool, segment_bytes=segment_bytes)
    mark = UsageCheckpoint(spool, writer.writer)
    for batch in batches:
        writer.append(batch)
    writer.close()
    mark.close(whole=False)
    return writer.writer


def calls(path: Path) -> int:
    connection = engine_of(path).connect()
    rows = list(usage(connection, Usage()))
    connection.close()
    return sum(row["calls"] for row in rows)


def test_what_dead_writers_left_is_counted_once(ledger: Ledger, worker: LedgerWorker, spool: Path) -> None:
    others = [{"type": "llm_proxy_dropped", "dropped": 3}]
    killed(spool, events(3), others, events(4), segment_bytes=1)
    killed(spool, events(700))
    engine = engine_of(ledger.path)
    assert catch_up(spool, engine, worker) == 707
    assert calls(ledger.path) == 707
    assert usage_checkpoint.behind(spool) == {}
    assert catch_up(spool, engine, worker) == 0
    with SpoolReader(spool, "test") as reader:
        while batch := reader.read():
            reader.commit(batch)
        reader.reclaim()
    assert list(spool.glob("*.jsonl")) == []


def test_only_what_the_store_does_not_have_is_taken(
    ledger: Ledger, worker: LedgerWorker, spool: Path
) -> None:
    first = events(5)
    writer = killed(spool, first, events(2))
    counted = [finished_of(typed(each), seq=number) for number, each in enumerate(first[:3], 1)]
    worker.finish(counted, writer).result(WAIT)
    assert catch_up(spool, engine_of(ledger.path), worker) == 4
    assert calls(ledger.path) == 7


LEFT = {"outcome": "client_aborted", "cost": {"usd": "0.000005"}}


@pytest.mark.parametrize(
    ("fields", "charged"),
    [
        ({**LEFT, "usage": None, "cost": None}, (900, 9_000)),
        ({**LEFT, "usage": {"input_tokens": 7, "complete": False}}, (900, 9_000)),
        ({**LEFT, "usage": {"input_tokens": 950, "complete": False}}, (950, 9_000)),
        ({"outcome": "shutdown", "usage": None, "cost": None}, (300, 3_000)),
        ({"outcome": "proxy_died", "usage": None, "cost": None}, (300, 3_000)),
        ({"outcome": "ok"}, (15, 11_100)),
    ],
)
def test_usage_that_did_not_come_is_charged_as_in_the_process_that_died(
    ledger: Ledger, worker: LedgerWorker, spool: Path, fields: dict[str, Any], charged: tuple[int, int]
) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 10**6}, "usd": {"day": "5"}})
    ask = ledger.ask(grant, tokens=300, usd=3e-6, most_tokens=900, most_nano_usd=9_000)
    assert worker.reserve(ask).result(WAIT).hit is None
    ids = {"event_id": ask.call_id, "token_id": grant.token.id, "project_id": grant.project.id}
    killed(spool, [event(status=200, **ids, **fields)])
    assert catch_up(spool, engine_of(ledger.path), worker) == 1
    (row,) = ledger.rows("SELECT * FROM spend WHERE subject = :id AND period = 'day'", id=grant.token.id)
    assert (row["tokens"], row["nano_usd"]) == charged


def test_lines_that_are_damaged_or_there_twice(ledger: Ledger, worker: LedgerWorker, spool: Path) -> None:
    killed(spool, events(3))
    (segment,) = spool.glob("*.jsonl")
    first, second, third, *_ = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(first + second + second + first + b"no JSON\n" + third + third[:50])
    assert catch_up(spool, engine_of(ledger.path), worker) == 3
    assert calls(ledger.path) == 3


def test_a_store_that_is_away(ledger: Ledger, worker: LedgerWorker, spool: Path) -> None:
    writer = killed(spool, events(3))
    away = ledger.path.with_suffix(".away")
    ledger.path.rename(away)
    with pytest.raises(StoreUnavailable):
        catch_up(spool, engine_of(ledger.path), worker)
    assert usage_checkpoint.behind(spool) == {writer: 0}
    away.rename(ledger.path)
    assert catch_up(spool, engine_of(ledger.path), worker) == 3


def test_one_writer_that_cannot_be_read_does_not_stop_the_others(
    ledger: Ledger, worker: LedgerWorker, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = killed(spool, events(1))
    killed(spool, events(2))
    (segment,) = spool.glob(f"{bad}*.jsonl")
    segment.unlink()
    segment.mkdir()
    assert catch_up(spool, engine_of(ledger.path), worker) == 2
    assert usage_checkpoint.behind(spool) == {bad: 0}
    assert "could not be counted" in caplog.text


def test_a_living_writer_is_left_alone(ledger: Ledger, worker: LedgerWorker, spool: Path) -> None:
    writer = SpoolWriter(spool)
    mark = UsageCheckpoint(spool, writer.writer)
    writer.append(events(1))
    assert catch_up(spool, engine_of(ledger.path), worker) == 0
    writer.close()
    mark.close(whole=False)
    assert catch_up(spool, engine_of(ledger.path), worker) == 1


def test_a_line_that_is_being_written_is_left_for_later(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = killed(spool, events(3))
    (segment,) = spool.glob("*.jsonl")
    first, second, rest = segment.read_bytes().split(b"\n", 2)
    segment.write_bytes(first + b"\n" + second[:50])
    parse = catching_up.parse

    def slowly(line: bytes) -> Any:
        """The writer goes on as soon as half a line was looked at."""
        if (found := parse(line)) is None:
            segment.write_bytes(b"\n".join([first, second, rest]))
        return found

    monkeypatch.setattr(catching_up, "parse", slowly)
    assert [call.seq for batch in batches_after(spool, writer, 0) for call in batch] == [1]
    segment.write_bytes(b"\n".join([first, second, rest]))
    assert [call.seq for batch in batches_after(spool, writer, 1) for call in batch] == [2, 3]

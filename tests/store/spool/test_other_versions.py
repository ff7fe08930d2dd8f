"""Lines of other versions, and of disks that change what they hold: no reader stops at them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from addons.recording.repricing import Repricer
from dispatch.proof import prove
from dispatch.sinks.calls import call
from scripts.cli import main
from scripts.client.spent import Spent
from scripts.quickstart import report
from store.ledger.catch_up import batches_after
from store.objects.recovery import _with_usage
from store.spool import (
    SpoolReader,
    SpoolWriter,
    close_dead_writers,
    parse,
    replay,
    scan,
    segment,
    usage_checkpoint,
)
from store.spool.survey import status, verify
from store.spool.tail import Tail
from tests.store.usage.test_rollups import event

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
DEEP = b'{"event_id":"x","token_id":"t","type":"llm_proxy_usage","a":' + b'{"a":' * 50_000
ODD: list[Any] = [
    event(outcome="paused", usage_missing_code="asleep", a_new_field=[1], seq=1),
    event(usage=["input_tokens"], cost="free", user=5, client=[], error="no", hosted_tools=7, status="200"),
    event(usage={"input_tokens": "ten", "seconds": [], "raw": 5}, cost={"usd": 0.5}, model=["gpt"]),
    event(timestamp=5, duration_ms="long", token_id=5, project_id=[], path=5, finish_reasons=[{}], seq="8"),
    {"type": "llm_proxy_usage"},
    {"type": ["llm_proxy_usage"], "event_id": {}},
    {"type": "llm_proxy_writer", "last_seq": "many", "opened": [1], "unrecorded": {}},
    {"type": "llm_proxy_writer", "last_seq": None, "opened": "3"},
    {"type": "llm_proxy_repricing", "of": 5, "cost": "dear"},
    {"type": "llm_proxy_session", "totals": 5, "outcome": 7},
    {"type": "llm_proxy_of_tomorrow", "timestamp": "2099-01-01T00:00:00Z", "seq": 9},
    {},
]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool with every odd line between two plain calls of a writer that has ended."""
    folder = tmp_path / "spool"
    writer = SpoolWriter(folder)
    writer.append([event(event_id="first"), event(event_id="last")])
    writer.close()
    (path,) = segment.segments(folder)
    first, last, end = path.read_bytes().splitlines(keepends=True)
    odd = [json.dumps({"writer": writer.writer, **each}).encode() + b"\n" for each in ODD]
    deep = DEEP + b"1" + b"}" * 50_001 + b"\n"
    path.write_bytes(b"".join([first, *odd, deep, b"[1]\n", b"no JSON\n", last, end]))
    return folder


def writer_of(spool: Path) -> str:
    return segment.writer_of(segment.segments(spool)[0])


def everything(spool: Path) -> list[dict[str, Any]]:
    return list(scan(spool))


def read_all(spool: Path) -> Any:
    with SpoolReader(spool, "test") as reader:
        batch = reader.read()
        assert [record.line for record in batch.records if b'"first"' in record.line]
        assert json.dumps(ODD[0]).encode()[1:] in b"".join(batch.lines), "unchanged"
        return [call(record, include_content=True) for record in batch.records if b'"a":' not in record.line]


def run(*arguments: str) -> Callable[[Path], Any]:
    def invoke(spool: Path) -> str:
        done = CliRunner().invoke(main, ["--spool", str(spool), *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.output

    return invoke


def spend(spool: Path) -> Spent:
    spent = Spent()
    for line in segment.segments(spool)[0].read_bytes().splitlines():
        spent.take(line, "t")
    return spent


READERS: dict[str, Callable[[Path], Any]] = {
    "dispatcher": read_all,
    "scan": everything,
    "tail": lambda spool: Tail(spool).last(100, lambda _: True),
    "tail command": run("spool", "tail", "--no-follow", "-n", "100"),
    "tail of a model": run("spool", "tail", "--no-follow", "-n", "100", "--model", "gpt", "--json"),
    "status": status,
    "verify": verify,
    "replay": lambda spool: replay.replay_range(spool, "test", replay.Range(since=LONG_AGO)),
    "prove": lambda spool: prove(spool, datetime.now(UTC) - timedelta(days=1), delivered=everything(spool)),
    "roll-ups": lambda spool: list(batches_after(spool, writer_of(spool), 0)),
    "last number": lambda spool: usage_checkpoint.last_number(segment.segments(spool)[0]),
    "recovery of claims": lambda spool: _with_usage(segment.segments(spool), {"x", "first"}),
    "closing": close_dead_writers,
    "repricing": lambda spool: list(Repricer(everything=True).reprice(scan(spool))),
    "earlier repricings": lambda spool: Repricer().learn(scan(spool)),
    "spending of a token": spend,
    "first steps": lambda spool: [report.one_line(each) for each in scan(spool)],
}


@pytest.mark.parametrize("name", READERS)
def test_no_line_stops_a_reader(spool: Path, name: str) -> None:
    before = [path.read_bytes() for path in sorted(spool.glob("*.jsonl"))]
    READERS[name](spool)
    assert before == [path.read_bytes() for path in sorted(spool.glob("*.jsonl"))]


def test_what_is_plain_is_read_all_the_same(spool: Path) -> None:
    ids = [each.get("event_id") for each in scan(spool)]
    assert (ids[0], ids[-2]) == ("first", "last")
    assert [batch[-1].call_id for batch in batches_after(spool, writer_of(spool), 0)] == ["last"]
    assert spend(spool).calls >= 2
    shutil.rmtree(spool)


def test_a_line_is_parsed_whoever_wrote_it() -> None:
    assert parse(b'{"a": "\\ud83d"}') == {"a": "\ud83d"}
    assert parse('{"a": 1e5}') == {"a": 100000.0}

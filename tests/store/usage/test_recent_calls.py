"""The latest calls in the store: as exact as the sums, without content, within bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from store.core.event import UsageEvent
from store.core.event_fields import read_record
from store.database.engine import Connection, Engine
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.ledger import LedgerWorker
from store.ledger.catch_up import catch_up
from store.ledger.finished import finished_of
from store.spool import SpoolWriter
from store.spool.recent import Wanted, position
from store.spool.usage_checkpoint import UsageCheckpoint
from store.usage import recent_calls
from store.usage.recent_calls import LONGEST, PORTION, Bounds, RecentCalls, row_of
from store.usage.rollups import line_of, seconds_of

WAIT = 30
AGELESS = Bounds(days=10**5)
NOW = seconds_of("2026-03-29T17:00:00.000Z")


def event(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": "llm_proxy_usage",
        "event_id": f"e{number:04}",
        "request_id": f"r{number:04}",
        "timestamp": f"2026-03-29T16:{number // 60 % 60:02}:{number % 60:02}.000Z",
        "outcome": "ok",
        "status": 200,
        "model": "gpt-4o",
        "endpoint": "chat",
        "project_id": "p1",
        "token_id": "t1",
        "request": {"body": {"messages": "a prompt"}},
        "response": {"body": "an answer"},
        **fields,
    }


def read(fields: dict[str, Any]) -> UsageEvent:
    return read_record(fields, UsageEvent)


def keep(connection: Connection, *events: dict[str, Any], at: float = NOW) -> None:
    rows = [row_of(typed, line_of(typed)) for typed in map(read, events)]
    with connection.transaction():
        RecentCalls(Bounds()).add(connection, at, rows)


def ids(connection: Connection, limit: int = 100, **wanted: Any) -> list[str]:
    found = recent_calls.latest(connection, Wanted(**wanted), limit)
    return [one["event_id"] for one in found.calls]


@pytest.fixture
def worker(engine: Engine) -> Iterator[LedgerWorker]:
    worker = LedgerWorker(engine, recent=AGELESS)
    yield worker
    worker.close()


def finish(worker: LedgerWorker, *events: dict[str, Any], first: int = 1) -> None:
    calls = [
        finished_of(read(each), seq=number, is_kept=worker.keeps_calls)
        for number, each in enumerate(events, first)
    ]
    worker.finish(calls, "w").result(WAIT)


def test_a_call_is_kept_once_in_the_transaction_that_counts_it(
    worker: LedgerWorker, connection: Connection
) -> None:
    finish(worker, event(1), event(2))
    finish(worker, event(1), event(2), event(3))
    assert ids(connection) == ["e0003", "e0002", "e0001"]
    (summed,) = connection.rows("SELECT SUM(calls) AS calls FROM usage_hours")
    assert int(summed["calls"]) == 3
    finish(worker, event(1), first=9)  # another call of the same name stops nothing
    assert ids(connection) == ["e0003", "e0002", "e0001"]


def test_what_is_kept_is_the_event_without_its_content(connection: Connection) -> None:
    given = event(
        1,
        user={"id": "ada", "source": "token"},
        session={"id": "s1", "thread": "root"},
        usage={"input_tokens": 3, "total_tokens": 5, "input_tokens_details": {"cached_tokens": 1}},
        cost={"usd": "0.001", "price_source": "x"},
        token_metadata={"team": "search"},
        duration_ms=12,
        time_to_first_token_ms=3,
        client={"ip": "10.1.1.1", "user_agent": "secret/1", "sdk": "python/2"},
        error={"type": "t", "code": "c", "message": "your prompt was"},
        outcome="http_error",
        user_claims={"user": "somebody"},
        writer="w1",
        seq=7,
    )
    keep(connection, given)
    found = recent_calls.find(connection, "e0001")
    assert found is not None
    same = ("event_id", "request_id", "timestamp", "project_id", "token_id", "user", "session", "cost")
    more = ("token_metadata", "duration_ms", "time_to_first_token_ms", "outcome", "status", "model", "writer")
    for name in (*same, *more):
        assert found[name] == given[name], name
    assert found["usage"]["input_tokens_details"] == {"cached_tokens": 1}
    assert found["client"] == {"ip": None, "user_agent": None, "sdk": "python/2"}
    assert found["error"] == {"type": "t", "code": "c", "message": None}
    assert recent_calls.find(connection, "r0001") == found
    for nobody in ("", "e0002", "gpt-4o"):
        assert recent_calls.find(connection, nobody) is None
    rows = connection.rows("SELECT * FROM recent_calls")
    told = json.dumps([dict(row) for row in rows])
    for secret in ("prompt", "an answer", "10.1.1.1", "secret/1", "somebody"):
        assert secret not in told
    keep(connection, event(2, outcome="refused", error={"code": "no", "message": "Say it so."}))
    refused = recent_calls.find(connection, "e0002")
    assert refused is not None
    assert refused["error"]["message"] == "Say it so."


@pytest.mark.parametrize(
    "strange",
    [
        {"path": "/v1/\udcff\0", "model": "m\udcff\0" + "x" * 500},
        {"user": {"id": "u" * 1000}, "session": {"id": "s" * 1000}},
        {"token_metadata": {f"name{n}": "v" * 100 for n in range(200)}},
        {"request_id": "r" * 1000},
        {"usage": {"input_tokens": float("inf")}},
        {"timestamp": "never", "outcome": None, "status": None, "event_id": None},
    ],
)
def test_whatever_clients_write_is_kept_and_found(connection: Connection, strange: dict[str, Any]) -> None:
    keep(connection, event(1, **strange))
    (found,) = recent_calls.latest(connection, Wanted(), 5).calls
    assert found["project_id"] == "p1"
    (row,) = connection.rows("SELECT event FROM recent_calls")
    assert len(row["event"]) <= LONGEST
    if "user" in strange:
        assert ids(connection, user="u" * 1000, session="s" * 1000) == ["e0001"]
    if "token_metadata" in strange:
        assert found["truncated"]
        assert (found["outcome"], found["model"]) == ("ok", "gpt-4o")


def test_pages_by_cursor(connection: Connection) -> None:
    same_moment = [event(number, timestamp="2026-03-29T16:00:00.123Z") for number in range(5)]
    keep(connection, *same_moment, *(event(number) for number in range(10, 20)))
    seen: list[str] = []
    before = None
    while True:
        found = recent_calls.latest(connection, Wanted(before=before), 4)
        seen += [one["event_id"] for one in found.calls]
        if not found.more:
            break
        before = position(found.calls[-1])
    assert seen == [f"e{number:04}" for number in (*range(19, 9, -1), 4, 3, 2, 1, 0)]
    assert ids(connection, before=("nonsense", "x")) == []


def test_filters(connection: Connection) -> None:
    keep(
        connection,
        event(1, user={"id": "ada"}, session={"id": "s1"}),
        event(2, outcome="refused", status=401, project_id=None, token_id=None),
        event(3, outcome="http_error", status=500, project_id="p2", model="o3", endpoint="responses"),
    )
    for wanted in ({"user": "ada"}, {"session": "s1"}, {"equal": {"token_id": "t1", "project_id": "p1"}}):
        assert ids(connection, **wanted)[-1] == "e0001"
    assert ids(connection, equal={"outcome": "refused"}) == ["e0002"]
    assert ids(connection, equal={"status": "500"}) == ids(connection, equal={"model": "o3"}) == ["e0003"]
    assert ids(connection, equal={"endpoint": "responses"}) == ["e0003"]
    assert ids(connection, equal={"request_id": "r0002"}) == ["e0002"]
    assert ids(connection, equal={"status": "all"}) == []
    assert ids(connection, projects=frozenset({"p1", "p3"})) == ["e0001"]
    assert ids(connection, projects=frozenset()) == []
    seconds = {"since": "2026-03-29T16:00:02.000Z", "until": "2026-03-29T16:00:03.000Z"}
    assert ids(connection, **seconds) == ["e0002"]


def test_who_follows_along_misses_no_call_that_began_early(connection: Connection) -> None:
    """The order is that in which calls are recorded: a long one comes behind a short one that began later."""
    keep(connection, event(30), at=NOW)
    behind = recent_calls.newest_of(NOW + 60)
    assert ids(connection, behind=behind) == []
    keep(connection, event(1), at=NOW + 61)
    assert ids(connection, behind=behind) == ["e0001"]
    keep(connection, event(2), at=NOW + 55)  # of a proxy whose clock is behind, or that took long
    assert ids(connection, behind=behind) == ["e0002", "e0001"]
    assert ids(connection, behind=("nonsense", "")) == ["e0030", "e0002", "e0001"]


def prune_all(connection: Connection, bounds: Bounds) -> int:
    recent, rounds = RecentCalls(bounds), 0
    while rounds == 0 or recent._end:
        with connection.transaction():
            recent.prune(connection, NOW)
        rounds += 1
    return rounds


def test_beyond_the_bounds_the_oldest_go_in_portions(connection: Connection) -> None:
    many = 2 * PORTION + 500
    keep(connection, *(event(number) for number in range(many)))
    assert prune_all(connection, Bounds(calls=many)) == 1
    assert len(ids(connection, 10**6)) == many
    assert prune_all(connection, Bounds(calls=400)) == 3
    assert ids(connection, 10**6) == [f"e{number:04}" for number in range(many - 1, many - 401, -1)]
    keep(connection, event(1, timestamp="2026-03-20T00:00:00.000Z", event_id="old"))
    prune_all(connection, Bounds(days=9))
    assert "old" not in ids(connection, 10**6)
    prune_all(connection, Bounds(calls=1))
    assert len(ids(connection)) == 1


def test_the_ledger_prunes_by_itself(
    engine: Engine, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_calls, "LOOK_SECONDS", 0.0)
    keep(connection, *(event(number) for number in range(20)))
    worker = LedgerWorker(engine, recent=Bounds(calls=5, days=10**5))
    try:
        finish(worker, event(20))
        finish(worker, event(21), first=2)
        assert ids(connection) == [f"e{number:04}" for number in range(21, 16, -1)]
    finally:
        worker.close()


def test_with_zero_none_is_kept_and_those_of_others_stay_until_they_are_old(
    engine: Engine, connection: Connection
) -> None:
    keep(connection, event(1))
    for days, left in ((10**5, ["e0001"]), (1, [])):
        worker = LedgerWorker(engine, recent=Bounds(calls=0, days=days))
        finish(worker, event(2), first=days)
        worker.close()
        assert ids(connection) == left


def test_calls_of_a_writer_that_died_are_kept_from_its_spool(
    engine: Engine, place: StoreLocation, connection: Connection, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    writer = SpoolWriter(spool)
    mark = UsageCheckpoint(spool, writer.writer)
    writer.append([event(1), event(2)])
    writer.close()
    mark.close(whole=False)
    worker = LedgerWorker(engine_of(place), recent=AGELESS)
    try:
        assert [catch_up(spool, engine, worker) for _ in range(2)] == [2, 0]
    finally:
        worker.close()
    assert ids(connection) == ["e0002", "e0001"]

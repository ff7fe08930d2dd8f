"""Whose the objects are, and that what they cost is counted once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.core.errors import StoreUnavailable
from store.database.engine import Connection, Engine
from store.database.location import StoreLocation
from store.objects import table as objects
from store.objects.recovery import recover
from store.objects.table import Claim, NewObject, Owner, Wanted
from store.objects.worker import ObjectWorker
from store.spool import open_spool

A, B = Owner("project-a", "token-a"), Owner("project-b", "token-b")


@pytest.fixture
def worker(engine: Engine, place: StoreLocation) -> Iterator[ObjectWorker]:
    worker = ObjectWorker(place)
    yield worker
    worker.close()


def new(id_: str, owner: Owner = A, kind: str = "file", **more: object) -> NewObject:
    return NewObject(id_, kind, owner, **more)  # type: ignore[arg-type]


def due(connection: Connection) -> list[str]:
    return sorted(row.id for row in objects.listed(connection, Wanted(unaccounted=True)))


def test_the_first_one_has_made_it(connection: Connection) -> None:
    assert objects.remember(connection, [new("file-1"), new("file-2")]) == {}
    assert objects.remember(connection, [new("file-1", B), new("file-3", B)]) == {"file-1": A}
    assert objects.owners(connection, ["file-1", "file-3", "file-9", "x" * 5000]) == {
        "file-1": A,
        "file-3": B,
    }
    objects.remember(connection, [new("y" * 5000)])
    assert connection.rows("SELECT count(*) AS number FROM objects")[0]["number"] == 3


def test_ids_that_differ_in_case_are_different_ones(connection: Connection) -> None:
    objects.remember(connection, [new("file-a"), new("file-A", B)])
    assert objects.owners(connection, ["file-A"]) == {"file-A": B}


def test_what_is_deleted_is_unknown(connection: Connection) -> None:
    objects.remember(connection, [new("resp_1", kind="response", due=True)])
    objects.forget(connection, "resp_1")
    assert objects.owners(connection, ["resp_1"]) == {}
    assert objects.claim(connection, "resp_1", "event", "writer"), "it has to be paid all the same"


def test_a_usage_is_claimed_once(connection: Connection) -> None:
    objects.remember(connection, [new("resp_1", kind="response", due=True), new("resp_2", kind="response")])
    assert objects.claim(connection, "resp_1", "event-1", "w") == Claim("resp_1", "response", A, None)
    assert objects.claim(connection, "resp_1", "event-1", "w") is not None
    assert objects.claim(connection, "resp_1", "event-2", "w") is None
    assert objects.claim(connection, "resp_2", "event-3", "w") is None
    assert objects.claim(connection, "resp_9", "event-3", "w") is None
    objects.release(connection, ["event-1"])
    assert objects.claim(connection, "resp_1", "event-2", "w") is not None
    objects.settle(connection, ["event-2"])
    objects.release(connection, ["event-2"])
    assert objects.claim(connection, "resp_1", "event-4", "w") is None
    assert due(connection) == []


def test_the_call_that_made_it_has_its_usage_in_any_case(connection: Connection) -> None:
    made = new("resp_1", kind="response", due=True)
    assert objects.claim(connection, "resp_1", "event-1", "w", made=made), "though nobody had noted it"
    objects.remember(connection, [new("resp_2", kind="response")])
    made = new("resp_2", kind="response", due=True)
    assert objects.claim(connection, "resp_2", "event-2", "w", made=made), "though nothing was expected"
    objects.settle(connection, ["event-1", "event-2"])
    assert due(connection) == []
    assert objects.claim(connection, "resp_2", "event-3", "w", made=made) is None


def test_the_state_of_a_batch(connection: Connection) -> None:
    objects.remember(connection, [new("batch_1", kind="batch", due=True, status="validating")])
    objects.remember(connection, [new("file-2", parent="batch_1")])
    objects.remember(connection, [new("batch_1", kind="batch", due=True, status="completed")])
    assert [row.status for row in objects.listed(connection, Wanted(kind="batch", unaccounted=True))] == [
        "completed"
    ]
    assert objects.parents(connection, ["file-2", "file-9"]) == {"file-2": "batch_1"}
    objects.remember(connection, [new("batch_1", kind="batch", status="failed")])
    assert due(connection) == []
    assert objects.parents(connection, ["file-2"]) == {}


def test_adopted_objects(connection: Connection) -> None:
    objects.remember(connection, [new("file-1", B)])
    assert objects.adopt(connection, ["file-1", "file-2"], "file", Owner("project-a")) == 1
    assert objects.owners(connection, ["file-1", "file-2"]) == dict.fromkeys(
        ["file-1", "file-2"], Owner("project-a")
    )


def test_old_answers_are_removed_and_what_is_to_be_paid_is_kept(connection: Connection) -> None:
    old = [
        new("resp_1", passing=True),
        new("resp_2", passing=True, due=True),
        new("file-1"),
        new("b", due=True),
    ]
    objects.remember(connection, old, now=0)
    assert objects.prune(connection) == 2
    assert objects.prune(connection, before=1000) == 1
    assert due(connection) == ["b"]


def test_memory_comes_before_the_store(worker: ObjectWorker, connection: Connection) -> None:
    worker.note([new("resp_1")])
    assert worker.known("resp_1") == A
    worker.note([new("resp_2")], kept=False)
    assert worker.ask(["resp_1", "resp_2"]).result(20) == {"resp_1": A}
    assert worker.known("resp_2") == A
    assert not worker.busy


def test_questions_that_nobody_waits_for_any_more(worker: ObjectWorker) -> None:
    for _ in range(50):
        worker.note([new("resp_1")])
        worker.ask(["resp_1"]).cancel()
        worker.do(lambda connection: 1 / 0)
    assert worker.ask(["resp_1"]).result(20) == {"resp_1": A}


def test_who_was_later_is_told(worker: ObjectWorker, connection: Connection) -> None:
    objects.remember(connection, [new("file-1", B)])
    worker.note([new("file-1", A)])
    assert worker.ask(["file-1"]).result(20) == {"file-1": B}
    assert worker.known("file-1") == B


def test_of_many_that_ask_one_counts(place: StoreLocation, connection: Connection) -> None:
    objects.remember(connection, [new("resp_1", kind="response", due=True)])
    workers = [ObjectWorker(place) for _ in range(3)]
    found: list[Claim | None] = []

    def ask(worker: ObjectWorker, number: int) -> None:
        found.extend(worker.claim("resp_1", f"{number}-{turn}", "w").result(30) for turn in range(20))

    threads = [threading.Thread(target=ask, args=[worker, number]) for number, worker in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(found), len([claim for claim in found if claim])) == (60, 1)
    for worker in workers:
        worker.close()


def test_notes_wait_for_a_store_that_is_away(path: Path, engine: Engine) -> None:
    away = path.with_name("away.db")
    path.rename(away)
    worker = ObjectWorker(path)
    worker.note([new("file-1")])
    with pytest.raises(StoreUnavailable):
        worker.ask(["file-2"]).result(20)
    away.rename(path)
    worker.note([new("file-3")])
    worker.close()
    connection = engine.connect()
    assert objects.owners(connection, ["file-1", "file-3"]).keys() == {"file-1", "file-3"}
    connection.close()


def test_claims_of_a_process_that_was_killed(engine: Engine, connection: Connection, tmp_path: Path) -> None:
    waiting = [new(id_, kind="response", due=True) for id_ in ("resp_1", "resp_2", "resp_3", "resp_4")]
    objects.remember(connection, waiting)
    writer, _ = open_spool(tmp_path / "spool")
    for number in (1, 2, 3):
        objects.claim(connection, f"resp_{number}", f"event-{number}", writer.writer)
    objects.claim(connection, "resp_4", "event-4", "on-another-machine")
    writer.append(
        [
            {"type": "llm_proxy_usage", "event_id": "event-1", "usage": {"total_tokens": 5}},
            {"type": "llm_proxy_usage", "event_id": "event-2", "usage": None},
            {"type": "llm_proxy_usage", "event_id": "event-9", "request": "event-3", "usage": {}},
        ]
    )
    assert recover(tmp_path / "spool", engine) == 0, "it lives"
    writer.close()
    assert recover(tmp_path / "spool", engine) == 3
    assert due(connection) == ["resp_2", "resp_3", "resp_4"]
    assert [
        objects.claim(connection, f"resp_{number}", "event-8", "w") is not None for number in (1, 2, 3, 4)
    ] == [*(False, True, True, False)]


def test_two_processes_that_see_an_object_at_the_same_time(
    place: StoreLocation, connection: Connection
) -> None:
    workers = [ObjectWorker(place) for _ in range(2)]
    for number in range(100):
        for worker, owner in zip(workers, (A, B), strict=True):
            worker.note([new(f"file-{number}", owner), new(f"own-{owner.project_id}-{number}", owner)])
    for worker in workers:
        worker.close()
    known = objects.owners(connection, [f"file-{number}" for number in range(100)])
    assert len(known) == 100
    for worker in workers:
        assert {id_: worker.known(id_) for id_ in known} == known, "both know who was first"
    mine = [f"own-{owner.project_id}-{number}" for owner in (A, B) for number in range(100)]
    assert len(objects.owners(connection, mine)) == 200

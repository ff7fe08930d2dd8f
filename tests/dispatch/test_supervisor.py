"""Several sinks on one spool: none holds up another; drain and reload lose nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dispatch import delivery
from dispatch.errors import Closed, Misconfigured, Unavailable
from dispatch.sinks import Parcel, Plan, Rejected
from dispatch.supervisor import Job, Supervisor
from store.core.errors import SpoolError
from store.spool import Record, SpoolReader, SpoolWriter
from tests.dispatch.conftest import usage_event, write


class Memory:
    """A sink that keeps what it gets; `before` may raise."""

    name = "memory"

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before
        self.taken: list[str] = []
        self.closed = False

    def plan(self, records: Sequence[Record]) -> Plan:
        return Plan([Parcel(records, None)])

    def send(self, parcel: Parcel) -> list[Rejected]:
        self.before()
        self.taken += [record.value["event_id"] for record in parcel.records]
        return []

    def check(self) -> str:
        return "fine"

    def close(self) -> None:
        self.closed = True


def fail(error: Exception) -> Callable[[], None]:
    def before() -> None:
        raise error

    return before


def job(name: str, sink: Memory, batch_size: int = 10) -> Job:
    return Job(name, name, batch_size, sink)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Running:
    """A supervisor in a thread, as the command has it in its main thread."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.failures: dict[str, str] = {}
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.failures = self.supervisor.run()

    def __enter__(self) -> Running:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.drain()
        self.thread.join(30)
        assert not self.thread.is_alive()


def test_one_that_is_down_holds_up_no_other(spool: Path) -> None:
    written = write(spool, [usage_event(n) for n in range(50)])
    up, down = Memory(), Memory(fail(Unavailable("down for good")))
    supervisor = Supervisor(spool, [job("down", down), job("up", up)], follow=True, grace=0.2)
    with Running(supervisor):
        wait_for(lambda: supervisor.totals["up"].sent == 51)
        assert set(written) <= set(up.taken)
        assert supervisor.totals["down"].sent == 0
        assert supervisor.totals["down"].error == "down for good"
        assert supervisor.totals["down"].lag(time.time()) > 0
        assert supervisor.totals["up"].lag(time.time()) == 0
    assert up.closed
    assert down.closed
    with SpoolReader(spool, "down") as reader:
        assert len(reader.read().records) == 51, "segments wait for the slowest consumer"


def test_all_cursors_are_registered_before_anything_is_removed(spool: Path) -> None:
    """A sink that starts late must find every segment."""
    written = write(spool, [usage_event(n) for n in range(20)])
    late = threading.Event()
    first, second = Memory(late.set), Memory(lambda: wait_for(late.is_set))
    failures = Supervisor(spool, [job("a", first), job("b", second)], follow=False, grace=1).run()
    assert failures == {}
    assert set(written) <= set(first.taken)
    assert first.taken == second.taken
    assert list(spool.glob("*.jsonl")) == []


def test_once_tells_which_sinks_failed(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "BASE_SECONDS", 0.001)
    write(spool, [usage_event(1)])
    jobs = [
        job("wrong", Memory(fail(Misconfigured("bad key")))),
        job("broken", Memory(fail(ZeroDivisionError("a defect")))),
        job("good", Memory()),
    ]
    failures = Supervisor(spool, jobs, follow=False, grace=1).run()
    assert failures["wrong"] == "bad key"
    assert "a defect" in failures["broken"]
    assert "good" not in failures


def test_a_drain_sends_what_is_left(spool: Path) -> None:
    """What was written before the signal is sent, although the sink was slow."""
    writer = SpoolWriter(spool)
    sink = Memory(lambda: time.sleep(0.05))
    supervisor = Supervisor(spool, [job("memory", sink, batch_size=1)], follow=True, grace=30)
    events = [usage_event(n) for n in range(10)]
    with Running(supervisor) as running:
        wait_for(lambda: bool(list((spool / "cursors").glob("*.json"))))
        writer.append(events)
    assert running.failures == {}
    assert sink.taken == [event["event_id"] for event in events]
    writer.close()


def test_the_grace_ends(spool: Path) -> None:
    write(spool, [usage_event(1)])
    supervisor = Supervisor(spool, [job("memory", Memory(fail(Unavailable("down"))))], follow=True, grace=0.3)
    with Running(supervisor):
        wait_for(lambda: supervisor.totals["memory"].retries > 0)
        begin = time.monotonic()
    assert 0.2 < time.monotonic() - begin < 15
    with SpoolReader(spool, "memory") as reader:
        assert len(reader.read().records) == 2


def test_a_request_that_hangs_does_not_keep_the_dispatcher(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.supervisor.FINISH_SECONDS", 0.2)
    write(spool, [usage_event(1)])
    hanging, release = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        release.wait(60)

    supervisor = Supervisor(spool, [job("memory", Memory(hang))], follow=True, grace=0.1)
    with Running(supervisor):
        assert hanging.wait(30)
    release.set()


def test_a_reload_swaps_the_sinks_and_loses_nothing(spool: Path) -> None:
    writer = SpoolWriter(spool)
    old, new, added = Memory(), Memory(), Memory()
    supervisor = Supervisor(spool, [job("memory", old)], follow=True, grace=30)
    with Running(supervisor):
        writer.append([usage_event(n) for n in range(30)])
        wait_for(lambda: len(old.taken) == 30)
        supervisor.reload(lambda: None)  # a configuration that is wrong
        supervisor.reload(lambda: [job("memory", new), job("added", added)])
        wait_for(lambda: old.closed)
        writer.append([usage_event(n) for n in range(20)])
        wait_for(lambda: len(new.taken) == 20)
        wait_for(lambda: len(added.taken) == 50)
    writer.close()
    assert supervisor.totals["memory"].sent == 50
    assert not set(old.taken) & set(new.taken)


def test_new_credentials_reach_a_sink_that_waits(spool: Path) -> None:
    """A reload interrupts the pause after a failure that only a person can mend."""
    written = write(spool, [usage_event(1)])
    wrong, right = Memory(fail(Misconfigured("expired"))), Memory()
    supervisor = Supervisor(spool, [job("memory", wrong)], follow=True, grace=30)
    with Running(supervisor):
        wait_for(lambda: supervisor.totals["memory"].retries == 1)
        supervisor.reload(lambda: [job("memory", right)])
        wait_for(lambda: written[0] in right.taken)
    assert wrong.taken == []


def test_a_spool_whose_disk_is_full_is_tried_again(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatch.supervisor.LONGEST_SECONDS", 0.01)
    written = write(spool, [usage_event(1)])
    commit, failures = SpoolReader.commit, [OSError(28, "No space left on device", "cursor.tmp")]

    def full(reader: SpoolReader, batch: object) -> None:
        if failures:
            raise failures.pop()
        commit(reader, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(SpoolReader, "commit", full)
    sink = Memory()
    with Running(Supervisor(spool, [job("memory", sink)], follow=True, grace=30)):
        wait_for(lambda: len(sink.taken) == 4)
    assert sink.taken.count(written[0]) == 2, "at least once"


def test_a_pipe_that_nobody_reads_ends_its_sink_only(spool: Path) -> None:
    write(spool, [usage_event(1)])
    supervisor = Supervisor(
        spool, [job("gone", Memory(fail(Closed("nobody reads")))), job("up", Memory())], follow=True, grace=5
    )
    with Running(supervisor) as running:
        wait_for(lambda: supervisor.totals["up"].sent == 2)
    assert running.failures == {"gone": "nobody reads"}


def test_a_follower_waits_for_the_spool(spool: Path) -> None:
    sink = Memory()
    with Running(Supervisor(spool, [job("memory", sink)], follow=True, grace=30)):
        written = write(spool, [usage_event(1)])
        wait_for(lambda: written[0] in sink.taken)
    with pytest.raises(SpoolError, match="no spool"):
        Supervisor(spool / "none", [job("memory", sink)], follow=False, grace=1).run()


def test_the_next_batch_is_shaped_while_one_is_on_its_way_but_not_sent_before_it_is_confirmed(
    spool: Path,
) -> None:
    written = write(spool, [usage_event(n) for n in range(6)])
    planned: list[int] = []
    first_is_on_its_way, go_on = threading.Event(), threading.Event()

    class Slow(Memory):
        def plan(self, records: Sequence[Record]) -> Plan:
            planned.append(len(records))
            return super().plan(records)

    def before() -> None:
        first_is_on_its_way.set()
        go_on.wait(30)

    sink = Slow(before)
    supervisor = Supervisor(spool, [job("memory", sink, batch_size=3)], follow=False, grace=1)
    with Running(supervisor):
        assert first_is_on_its_way.wait(30)
        wait_for(lambda: planned == [3, 3])
        assert sink.taken == []
        assert "jsonl" not in (spool / "cursors" / "memory.json").read_text()
        go_on.set()
        wait_for(lambda: len(sink.taken) == 7)
    assert sink.taken[:6] == written


def test_the_second_drain_ends_at_once(spool: Path) -> None:
    write(spool, [usage_event(1)])
    supervisor = Supervisor(spool, [job("memory", Memory(fail(Unavailable("down"))))], follow=True, grace=600)
    with Running(supervisor) as running:
        wait_for(lambda: supervisor.totals["memory"].retries > 0)
        supervisor.drain()
        supervisor.drain()
        running.thread.join(30)
        assert not running.thread.is_alive()


def test_the_jobs_are_those_of_the_last_configuration(spool: Path) -> None:
    write(spool, [usage_event(1)])
    first, second = [job("memory", Memory())], [job("memory", Memory()), job("added", Memory())]
    supervisor = Supervisor(spool, first, follow=True, grace=30)
    assert supervisor.jobs == tuple(first)
    with Running(supervisor):
        supervisor.reload(lambda: second)
        wait_for(lambda: supervisor.jobs == tuple(second))


def test_nothing_is_taken_over_during_a_drain(spool: Path) -> None:
    """The sinks that there are send what is left."""
    write(spool, [usage_event(1)])
    late = Memory()
    supervisor = Supervisor(spool, [job("memory", Memory(fail(Unavailable("down"))))], follow=True, grace=0.3)
    with Running(supervisor):
        wait_for(lambda: supervisor.totals["memory"].retries > 0)
        supervisor.drain()
        supervisor.reload(lambda: [job("late", late)])
    assert late.taken == []
    assert [each.name for each in supervisor.jobs] == ["memory"]


def test_once_a_full_disk_ends_its_sink(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(spool, [usage_event(1)])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "cursor.tmp")

    monkeypatch.setattr(SpoolReader, "commit", full)
    failures = Supervisor(spool, [job("memory", Memory())], follow=False, grace=1).run()
    assert failures == {"memory": "memory: cursor.tmp: No space left on device"}


def test_a_cursor_that_another_holds_is_waited_for(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatch.supervisor.POLL_SECONDS", 0.01)
    written = write(spool, [usage_event(1)])
    early, later = Memory(), Memory()
    with SpoolReader(spool, "memory"):
        with Running(Supervisor(spool, [job("memory", early)], follow=True, grace=30)):
            time.sleep(0.1)
        running = Running(Supervisor(spool, [job("memory", later)], follow=True, grace=30))
        running.thread.start()
        time.sleep(0.1)
        assert later.taken == []
    wait_for(lambda: written[0] in later.taken)
    running.__exit__()
    assert (early.taken, early.closed) == ([], True)

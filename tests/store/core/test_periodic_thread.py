"""One thread for what is done every so often."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from store.core.periodic_thread import PeriodicThread

SOON = 0.001


def periodic(
    work: Callable[[], object], *, pause: float = SOON, first: float = 0.0, end: Callable[[], object] = int
) -> PeriodicThread:
    thread = PeriodicThread("test", work, pause=lambda: pause, first=first, end=end)
    thread.start()
    return thread


def test_work_is_done_again_and_again_until_the_close() -> None:
    times: list[str] = []
    enough = threading.Event()

    def work() -> None:
        times.append(threading.current_thread().name)
        if len(times) == 3:
            enough.set()

    thread = periodic(work)
    assert enough.wait(20)
    assert thread.close(20)
    done = len(times)
    assert done >= 3
    assert set(times) == {"test"}
    assert thread.closing
    assert not threading.Event().wait(20 * SOON)
    assert len(times) == done


def test_an_error_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    outcomes: list[Callable[[], object]] = [lambda: 1 / 0, lambda: int("x")]
    after = threading.Event()

    def work() -> None:
        if outcomes:
            outcomes.pop(0)()
        after.set()

    with caplog.at_level(logging.ERROR):
        thread = periodic(work)
        assert after.wait(20)
        assert thread.close(20)
    assert outcomes == []
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [
        ZeroDivisionError,
        ValueError,
    ]


def test_the_first_time_may_be_later_than_the_start() -> None:
    done = threading.Event()
    thread = periodic(done.set, first=60.0)
    assert thread.close(20), "whoever closes it does not wait for the pause"
    assert not done.is_set()


def test_the_end_comes_last_and_in_the_thread() -> None:
    seen: list[str] = []
    began = threading.Event()

    def work() -> None:
        seen.append("work")
        began.set()

    thread = periodic(work, pause=60.0, end=lambda: seen.append(threading.current_thread().name))
    assert began.wait(20)
    assert thread.close(20)
    assert seen == ["work", "test"]


def test_the_pause_is_asked_for_each_time() -> None:
    pauses = iter((SOON, SOON, 60.0))
    asked: list[float] = []
    long = threading.Event()

    def pause() -> float:
        asked.append(next(pauses))
        if asked[-1] > 1:
            long.set()
        return asked[-1]

    thread = PeriodicThread("test", int, pause=pause)
    thread.start()
    assert long.wait(20)
    assert thread.close(20)
    assert asked == [SOON, SOON, 60.0]


def test_a_close_waits_no_longer_than_it_may() -> None:
    began, hold = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        hold.wait(20)

    thread = periodic(work)
    assert began.wait(20)
    assert not thread.close(0)
    hold.set()
    assert thread.close(20)


def test_one_that_was_never_started_can_be_closed() -> None:
    assert PeriodicThread("test", int, pause=lambda: SOON).close()

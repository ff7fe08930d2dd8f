"""Whatever a worker thread is handed is worked on, or refused: nothing is left waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest

from store.core.errors import StoreUnavailable
from store.core.worker_thread import WorkerThread, fail
from store.database.engines import engine_of
from store.ledger import LedgerWorker, ReservationRequest
from store.objects.worker import ObjectWorker
from store.tokens.models import Grant
from store.tokens.store import TokenStore

Question = Future[int]


def start(work: Callable[[list[Question]], object], **how: object) -> WorkerThread[Question]:
    settings = {"batch": 10, "pause": lambda: 60.0, "refuse": fail, **how}
    thread: WorkerThread[Question] = WorkerThread("test", work, **settings)  # type: ignore[arg-type]
    thread.start()
    return thread


def answer(questions: list[Question]) -> None:
    for question in questions:
        question.set_result(1)


def test_what_was_handed_over_is_done_before_the_end() -> None:
    gate, batches = threading.Event(), []

    def work(questions: list[Question]) -> None:
        gate.wait(20)
        batches.append(len(questions))
        answer(questions)

    thread = start(work)
    questions = [Question() for _ in range(25)]
    for question in questions:
        thread.put(question)
    assert thread.waiting > 0
    gate.set()
    assert thread.close(20)
    assert [question.result(0) for question in questions] == [1] * 25
    assert max(batches) <= 10


def test_what_comes_after_the_end_is_refused_at_once() -> None:
    ended = []
    thread = start(answer, end=lambda: ended.append(True))
    assert thread.close(20)
    assert ended == [True]
    late = Question()
    thread.put(late)
    with pytest.raises(StoreUnavailable):
        late.result(0)


def test_what_comes_while_it_ends_is_done_or_refused() -> None:
    """Whatever the moment: many threads ask while the end comes."""
    for _ in range(20):
        thread, asked = start(answer), []

        def ask(thread: WorkerThread[Question], asked: list[Question]) -> None:
            for _ in range(200):
                asked.append(Question())
                thread.put(asked[-1])

        asking = [threading.Thread(target=ask, args=(thread, asked)) for _ in range(3)]
        for each in asking:
            each.start()
        assert thread.close(20)
        for each in asking:
            each.join(20)
        for question in asked:
            try:
                assert question.result(5) == 1
            except StoreUnavailable:
                continue


def test_a_thread_that_fails_leaves_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    def work(questions: list[Question]) -> None:
        questions[0].set_result(1)
        raise ZeroDivisionError

    gate = threading.Event()
    thread = start(lambda questions: (gate.wait(20), work(questions)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda *_: None)
        first, second, third = Question(), Question(), Question()
        thread.put(first)
        time.sleep(0)
        thread.put(second)
        thread.put(third)
        gate.set()
        assert first.result(20) == 1
        for question in (second, third):
            with pytest.raises(StoreUnavailable):
                question.result(20)
        assert thread.close(20)
    assert "the thread test ended" in caplog.text


def test_it_works_now_and_then_without_items() -> None:
    ticked = threading.Event()
    thread = start(lambda questions: questions or ticked.set(), pause=lambda: 0.001)
    assert ticked.wait(20)
    assert thread.close(20)


def test_a_close_with_a_limit_says_that_it_was_not_in_time() -> None:
    gate = threading.Event()
    thread = start(lambda _: gate.wait(20))
    thread.put(Question())
    assert thread.close(0.01) is False
    gate.set()
    assert thread.close(20)


def test_late_questions_to_the_store_are_answered(tmp_path: Path) -> None:
    """To all that use such a thread; see also tests/addons/recording/test_worker.py."""
    with closing(TokenStore.open(tmp_path / "store.db")) as store:
        project = store.create_project("acme", "sk-0123456789abcdefghijkl")
        token, _ = store.create_token(project.id)
    worker, objects = LedgerWorker(engine_of(tmp_path / "store.db")), ObjectWorker(tmp_path / "store.db")
    worker.close()
    objects.close()
    asked = ReservationRequest("call", Grant(project, token))
    for late in (
        worker.reserve(asked),
        worker.look(asked),
        worker.finish([], "writer"),
        objects.ask(["resp_1"]),
        objects.parent("file_1"),
        objects.claim("batch_1", "event", "writer"),
    ):
        with pytest.raises(StoreUnavailable):
            late.result(5)


def test_what_comes_a_little_later_is_worked_on_together() -> None:
    batches: list[int] = []
    thread = start(lambda questions: (batches.append(len(questions)), answer(questions)), gather=lambda: 0.3)
    questions = [Question() for _ in range(3)]
    for question in questions:
        thread.put(question)
        time.sleep(0.01)
    assert [question.result(20) for question in questions] == [1] * 3
    assert batches == [3]
    thread.put(last := Question())
    begun = time.monotonic()
    assert thread.close(20), "the end does not wait for more"
    assert time.monotonic() - begun < 0.25
    assert last.result(0) == 1

"""Processes that several proxies share read as one's own do, whatever becomes of them or of other proxies."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from addons.openai.pricing import price_file
from addons.recording.reading import lanes, messages
from addons.recording.reading.lanes import ROOMS, Manner, SharedLane
from addons.recording.reading.readers import ProcessReader, Readers, ThreadReader, reader_of
from tests.addons.recording.test_reading import ANSWER, ASKED, KEY, call, odd, plain, streamed
from tests.addons.recording.test_worker import exchange
from tests.vocabularies import needs_vocabularies

HOSTILE = """
import time
from addons.recording.reading import pool, process
pool.READ_SECONDS = 1.0
read = process.written_event
def written_event(exchange, **manner):
    if exchange.method == "HANG":
        time.sleep(60)
    return read(exchange, **manner)
process.written_event = written_event
"""
"""What a process is made to do with a call that it hangs at."""


class Running:
    """A pool of two, and the socket that outlives it."""

    def __init__(self, folder: Path, first: str = "") -> None:
        self.place = folder / "readers"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(self.place))
        self.listener.listen(64)
        self.users, self.held_open = os.pipe()
        self.first = first
        self.process = self.start()

    def start(self) -> psutil.Popen:
        self.process = psutil.Popen(
            [
                *(sys.executable, "-P", "-c"),
                f"{self.first}\nfrom addons.recording.reading.pool import main\nmain()",
                *(str(self.listener.fileno()), str(self.users), "2"),
            ],
            pass_fds=[self.listener.fileno(), self.users],
            env={**os.environ, "PYTHONPATH": str(ROOMS)},
            stdin=subprocess.DEVNULL,
        )
        return self.process

    def readers(self) -> set[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return set(self.process.children())
        return set()

    def lane(self) -> ProcessReader:
        """One proxy's way to it."""
        reader = reader_of(Readers(shared=self.place))
        assert isinstance(reader, ProcessReader)
        return reader

    def leave(self) -> None:
        os.close(self.held_open)
        self.held_open = -1

    def close(self) -> None:
        if self.held_open >= 0:
            self.leave()
        self.process.wait(20)
        self.listener.close()
        os.close(self.users)


def until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)
    return value


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = Running(tmp_path_factory.mktemp("pool"))
    yield made
    made.close()


@pytest.mark.parametrize("make", [call, streamed, odd])
def test_they_make_of_a_call_what_the_thread_makes(running: Running, make: Any) -> None:
    one = make()
    (here,) = ThreadReader().read([one], Manner())
    for _ in range(2):  # proxies
        (there,) = running.lane().read([one], Manner())
        assert there[1] == here[1]
        assert KEY.encode() not in there[1]
        assert plain(there[0]) == plain(here[0])


def test_two_proxies_have_the_same_processes(running: Running) -> None:
    first, second = running.lane(), running.lane()
    for lane in (first, second):
        assert lane.read([call()], Manner())[0][0].outcome == "ok"
    pids = {process.pid for process in running.readers()}
    assert len(pids) == 2
    assert {*first.figures().pids, *second.figures().pids} <= pids
    assert "mitmproxy" not in Path(f"/proc/{running.process.pid}/maps").read_text()


def test_each_proxy_has_its_own_prices(running: Running) -> None:
    text = "- id: openai\n  models:\n    - id: gpt-4o-mini\n      match: {{starts_with: gpt-4o-mini}}\n" + (
        "      prices: {{input_mtok: {0}, output_mtok: {0}}}\n"
    )
    proxies = {
        usd: (running.lane(), Manner(prices=price_file.parse(text.format(mtok), "mine.yaml")))
        for usd, mtok in {"0.015": 1000, "0.03": 2000}.items()
    }
    for _ in range(3):
        for usd, (lane, manner) in proxies.items():
            ((event, _),) = lane.read([call()], manner)
            assert event.cost is not None
            assert event.cost.usd == usd
    ((event, _),) = running.lane().read([call()], Manner())
    assert event.cost is not None
    assert event.cost.usd not in proxies


def test_sigkill_of_those_that_read_loses_nothing_and_reads_nothing_twice(running: Running) -> None:
    killed = threading.Event()

    def kill() -> None:
        for _ in range(3):
            time.sleep(0.3)  # two in a row might take one call three times
            victims = until(lambda: list(running.readers()), "one that reads")
            victims[0].kill()
        killed.set()

    def read(lane: ProcessReader) -> list[tuple[str, str | None]]:
        found = []
        while not killed.is_set():
            calls = [call() for _ in range(8)]
            events = [event for event, _ in lane.read(calls, Manner())]
            assert [event.event_id for event in events] == [one.id for one in calls]
            found += [(event.event_id, event.outcome) for event in events]
        return found

    proxies = [running.lane(), running.lane()]
    with ThreadPoolExecutor(3) as threads:
        killing = threads.submit(kill)
        found = [one for part in threads.map(read, proxies) for one in part]
        killing.result()
    assert len({event_id for event_id, _ in found}) == len(found)
    assert {outcome for _, outcome in found} == {"ok"}
    assert [lane.figures().outlined for lane in proxies] == [0, 0]
    until(lambda: len(running.readers()) == 2, "two others")


@needs_vocabularies()
def test_what_one_has_loaded_the_others_share(tmp_path: Path) -> None:
    answer = {name: value for name, value in ANSWER.items() if name != "usage"}
    unreported = exchange(json.dumps(ASKED).encode(), json.dumps(answer).encode())
    running = Running(tmp_path)
    try:
        lane = running.lane()
        lane.read([call()], Manner())
        before, maps = {one.pid for one in running.readers()}, Path(f"/proc/{running.process.pid}/maps")
        assert "tiktoken" not in maps.read_text(), "it is loaded by the first call that needs it"
        ((event, _),) = lane.read([unreported], Manner())
        assert event.usage is not None
        assert event.usage.source == "tokenizer"
        until(lambda: "tiktoken" in maps.read_text(), "the vocabulary in the first process")
        until(
            lambda: len(found := {one.pid for one in running.readers()}) == 2 and not found & before,
            "processes that have it from the first",
        )
        assert lane.read([unreported], Manner())[0][0].usage == event.usage
        assert lane.figures().restarts == 0
    finally:
        running.close()


def test_a_call_that_hangs_keeps_no_other_proxy_waiting(tmp_path: Path) -> None:
    running = Running(tmp_path, HOSTILE)
    try:
        running.lane().read([call()], Manner())
        hostile, other = running.lane(), running.lane()
        with ThreadPoolExecutor(1) as threads:
            bad = threads.submit(hostile.read, [replace(call(), method="HANG"), call()], Manner())
            slowest = 0.0
            while not bad.done():
                begun = time.monotonic()
                assert other.read([call()], Manner())[0][0].outcome == "ok"
                slowest = max(slowest, time.monotonic() - begun)
        (outlined, _), (good, _) = bad.result()
    finally:
        running.close()
    assert slowest < 0.8, "no more than another's call takes"
    assert outlined.usage_missing_code == "unread"
    assert good.usage is not None
    assert (hostile.figures().outlined, other.figures().outlined) == (1, 0)


def test_sigkill_of_the_first_process_ends_the_others_and_messages_wait_for_the_next(tmp_path: Path) -> None:
    running = Running(tmp_path)
    try:
        lane = running.lane()
        lane.read([call()], Manner())
        orphans = running.readers()
        running.process.kill()
        running.process.wait()
        until(lambda: not any(one.is_running() for one in orphans), "the end of those that read")
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(lane.read, [call()], Manner())
            running.start()
            assert waiting.result(30)[0][0].outcome == "ok"
        assert lane.figures().pids[-1] in {one.pid for one in running.readers()}
    finally:
        running.close()


def test_where_they_are_gone_for_good_the_thread_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lanes, "TURN_SECONDS", 0.2)
    running = Running(tmp_path)
    try:
        lane = running.lane()
        running.process.kill()
        running.process.wait()
        found = [lane.read([call()], Manner())[0][0].outcome for _ in range(3)]
        assert found == ["ok"] * 3
        assert caplog.text.count("a thread reads calls for 60 s") == 1
    finally:
        running.close()


def test_they_end_with_the_last_who_could_ask(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.lane().read([call()], Manner())
    readers = running.readers()
    running.leave()
    assert running.process.wait(20) == 0
    assert not [one for one in readers if one.is_running()]
    running.close()


def test_another_users_socket_gets_no_call(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages.os, "geteuid", lambda: 12345)  # type: ignore[attr-defined]
    with pytest.raises(lanes.CannotStart, match="another user's"):
        SharedLane(running.place).ask([call()], Manner())


def test_no_proxy_that_says_nothing_keeps_one_for_long(tmp_path: Path) -> None:
    running = Running(tmp_path, "from addons.recording.reading import pool\npool.SILENCE_SECONDS = 0.3")
    try:
        silent = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for one in silent:
            one.connect(str(running.place))
        begun = time.monotonic()
        assert running.lane().read([call()], Manner())[0][0].outcome == "ok"
        assert time.monotonic() - begun < 10
        for one in silent:
            one.close()
    finally:
        running.close()


def test_one_that_has_grown_is_replaced_after_its_message(tmp_path: Path) -> None:
    """Python gives little of its heap back: what one long answer took would stay."""
    running = Running(tmp_path, "from addons.recording.reading import pool\npool.MOST_GROWTH = 16 * 2**20")
    try:
        lane = running.lane()
        lane.read([call()], Manner())
        before = {one.pid for one in running.readers()}
        long = exchange(
            json.dumps(ASKED).encode(), json.dumps({**ANSWER, "x": ["long"] * 2_000_000}).encode()
        )
        assert lane.read([long], Manner())[0][0].event_id == long.id
        until(lambda: before - {one.pid for one in running.readers()}, "the end of the one that read it")
        assert lane.read([call()], Manner())[0][0].outcome == "ok"
        assert lane.figures().restarts == 0
    finally:
        running.close()

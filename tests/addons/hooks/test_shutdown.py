"""The end in order, hook by hook (see also tests/live/test_shutdown.py)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from addons.flow.call import open_calls
from addons.hooks import shutdown
from addons.hooks.shutdown import Shutdown
from addons.hooks.websockets import session


class Master:
    """What an end asks of mitmproxy."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.ended = asyncio.Event()

    def shutdown(self) -> None:
        self.done.append("end")
        self.ended.set()

    def update(self, *, server: bool) -> None:
        assert server is False
        self.done.append("listen no more")


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Iterator[Master]:
    made = Master()
    monkeypatch.setattr(shutdown, "ctx", SimpleNamespace(master=made, options=made))
    monkeypatch.setattr(shutdown, "LOOK_SECONDS", 0.005)
    monkeypatch.setattr(shutdown.mitm, "unsent_bytes", lambda: False)
    monkeypatch.setattr(shutdown, "client_connections", list)
    yield made
    open_calls.clear()
    session.open_sessions.clear()


def hook(*, grace: float = 20.0, linger: float = 0.0, services: object = "open") -> Shutdown:
    settings = SimpleNamespace(shutdown_grace=grace, shutdown_linger=linger)
    return Shutdown(SimpleNamespace(settings=settings, services=services))  # type: ignore[arg-type]


def a_call(name: str = "one") -> None:
    open_calls[name] = SimpleNamespace()  # type: ignore[assignment]


async def test_it_ends_at_once_where_nothing_is_under_way(master: Master) -> None:
    hook().begin()
    await asyncio.wait_for(master.ended.wait(), 20)
    assert master.done == ["listen no more", "end"]


async def test_answers_under_way_come_to_their_end(master: Master) -> None:
    a_call()
    hook().begin()
    await asyncio.sleep(0.1)
    assert master.done == ["listen no more"]
    open_calls.clear()
    await asyncio.wait_for(master.ended.wait(), 20)


async def test_after_the_grace_they_are_cut(master: Master, caplog: pytest.LogCaptureFixture) -> None:
    a_call()
    hook(grace=0.05).begin()
    await asyncio.wait_for(master.ended.wait(), 20)
    assert "1 calls under way have 0.05 s" in caplog.text or "1 calls under way have 0 s" in caplog.text
    assert "1 calls are cut by the end of the proxy" in caplog.text


async def test_a_second_signal_ends_it_at_once(master: Master) -> None:
    a_call()
    ending = hook()
    ending.begin()
    ending.begin()
    assert master.done == ["listen no more", "end"]
    assert ending._task is not None
    ending._task.cancel()


async def test_a_proxy_that_is_not_open_ends_at_once(master: Master) -> None:
    a_call()
    hook(services=None).begin()
    assert master.done == ["end"]


async def test_sigterm_begins_it(master: Master) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        hook().running()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(master.ended.wait(), 20)
        assert master.done == ["listen no more", "end"]
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


async def test_a_client_that_has_just_asked_may_ask_again(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may not know of the end yet, and use its connection once more."""
    client = SimpleNamespace(quiet_seconds=0.0)
    monkeypatch.setattr(shutdown, "client_connections", lambda: [client])
    hook(linger=5.0).begin()
    await asyncio.sleep(0.1)
    assert master.done == ["listen no more"]
    client.quiet_seconds = 6.0
    await asyncio.wait_for(master.ended.wait(), 20)


async def test_idle_sessions_are_closed_first_and_the_others_after_the_grace(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[tuple[str, str | None, int]] = []

    def close(which: Any, why: Any, code: int) -> None:
        closed.append((which.name, why.code, code))
        del session.open_sessions[which.name]

    monkeypatch.setattr(session, "close", close)
    for name, idle in (("busy", False), ("idle", True)):
        a_call(name)
        session.open_sessions[name] = SimpleNamespace(  # type: ignore[assignment]
            name=name, turns=SimpleNamespace(idle=idle)
        )
    hook(grace=0.3).begin()
    await asyncio.sleep(0.1)
    assert [name for name, _, _ in closed] == ["idle"]
    await asyncio.wait_for(master.ended.wait(), 20)
    assert [name for name, _, _ in closed] == ["idle", "busy"]
    assert {code for _, _, code in closed} == {1001}


async def test_the_last_bytes_may_leave(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    unsent = [True]
    monkeypatch.setattr(shutdown.mitm, "unsent_bytes", lambda: unsent[0])
    hook().begin()
    await asyncio.sleep(0.05)
    assert master.done == ["listen no more"]
    unsent[0] = False
    await asyncio.wait_for(master.ended.wait(), 20)


async def test_an_error_on_the_way_ends_it_all_the_same(
    master: Master, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutdown, "client_connections", lambda: 1 / 0)
    hook(linger=1.0).begin()
    await asyncio.wait_for(master.ended.wait(), 20)
    assert "ends at once" in caplog.text


@pytest.mark.parametrize(
    ("version", "status", "close"),
    [("HTTP/1.1", 200, True), ("HTTP/1.1", 101, False), ("HTTP/2.0", 200, False)],
)
async def test_clients_take_another_connection_from_now_on(
    master: Master, version: str, status: int, close: bool
) -> None:
    flow = tflow.tflow(resp=http.Response.make(status))
    flow.request.http_version = version
    ending = hook()
    ending.responseheaders(flow)
    assert flow.response is not None
    assert "connection" not in flow.response.headers, "not before the end"
    a_call()
    ending.begin()
    ending.responseheaders(flow)
    assert flow.response.headers.get("connection") == ("close" if close else None)
    open_calls.clear()
    await asyncio.wait_for(master.ended.wait(), 20)

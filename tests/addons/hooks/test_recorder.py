"""How calls end, asked hook by hook (see also tests/live)."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import flow, http

from addons.flow import fail_closed
from addons.flow.call import open_calls
from addons.hooks import recorder
from addons.hooks.recorder import Recorder
from tests.addons.hooks.gated import Gated, gated


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Gated]:
    with gated(tmp_path) as made:
        yield made
    open_calls.clear()


def begun(world: Gated) -> http.HTTPFlow:
    """A call that has passed the gate."""
    made = world.flow(world.token())

    async def pass_gate() -> None:
        await world.gate.requestheaders(made)
        await world.gate.request(made)

    asyncio.run(pass_gate())
    assert made.response is None
    return made


def answered(made: http.HTTPFlow, body: bytes = b'{"object": "list"}') -> http.HTTPFlow:
    made.response = http.Response.make(200, body, {"content-type": "application/json"})
    return made


def recorded(world: Gated) -> list[dict[str, Any]]:
    """The events on disk, once the worker has written what it was given."""
    world.runtime.close()
    lines = [line for file in world.spool.glob("*.jsonl") for line in file.read_bytes().splitlines()]
    return [event for line in lines if (event := json.loads(line))["type"] == "llm_proxy_usage"]


def test_an_answer_ends_a_call_once(world: Gated) -> None:
    recorder_, made = Recorder(world.runtime), answered(begun(world))
    asyncio.run(recorder_.response(made))
    recorder_.error(made)
    recorder_.finish(made.id, "shutdown")
    assert [event["outcome"] for event in recorded(world)] == ["ok"]


def test_an_answer_of_a_script_in_upstreams_place_is_left_whole(world: Gated) -> None:
    recorder_, made = Recorder(world.runtime), answered(begun(world))
    recorder_.responseheaders(made)
    assert made.response is not None
    assert not made.response.stream
    asyncio.run(recorder_.response(made))
    assert made.response.content == b'{"object": "list"}'
    assert [event["outcome"] for event in recorded(world)] == ["ok"]


def test_who_waits_for_the_event_of_a_call_is_never_left_waiting(
    world: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder_, unknown, closed, failing = Recorder(world.runtime), Future(), Future(), Future()  # type: ignore[var-annotated]
    recorder_.finish("no such flow", "ok", unknown)
    assert unknown.done()
    made, other = answered(begun(world)), answered(begun(world))
    monkeypatch.setattr(recorder, "exchange_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recorder_.finish(made.id, "ok", failing)
    assert failing.done()
    services, world.runtime.services = world.runtime.services, None
    recorder_.finish(other.id, "ok", closed)
    assert closed.done()
    world.runtime.services = services
    assert recorded(world) == []


def test_a_refusal_waits_for_no_disk(world: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with `llm_durability=call` either: the disk, which is full, may be why it is one."""
    world.context.configure(world.runtime, llm_durability="call")
    services = world.runtime.services
    assert services is not None
    held: list[Any] = []
    monkeypatch.setattr(services.worker, "put", held.append)  # it writes nothing
    recorder_, refused, served = (
        Recorder(world.runtime),
        world.flow("sk-llmp-unknown"),
        answered(begun(world)),
    )

    async def end(flow: http.HTTPFlow) -> None:
        await asyncio.wait_for(recorder_.response(flow), 1)

    asyncio.run(world.gate.requestheaders(refused))
    assert refused.response is not None
    asyncio.run(end(refused))
    with pytest.raises(TimeoutError):
        asyncio.run(end(served))
    assert [exchange.outcome for exchange in held] == ["refused", "ok"]


def test_a_call_that_mitmproxy_forgot_ends_with_its_connection(
    world: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "LEFT_BEHIND_SECONDS", 0.01)
    recorder_, made, other = Recorder(world.runtime), begun(world), begun(world)

    async def leave() -> None:
        fail_closed.under_way[made.id] = 1  # a hook awaits the store for it
        await recorder_.client_disconnected(made.client_conn)
        await asyncio.sleep(0.05)
        assert made.id in open_calls
        del fail_closed.under_way[made.id]
        while made.id in open_calls:  # noqa: ASYNC110 - what ends it is a task
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(leave(), 20))
    assert other.id in open_calls
    assert [event["outcome"] for event in recorded(world)] == ["client_aborted"]


def test_a_call_whose_check_fails_is_refused_and_audited(
    world: Gated, caplog: pytest.LogCaptureFixture
) -> None:
    """The row of its token is damaged; those of others are not."""
    damaged, whole = world.token(), world.token()
    first = world.store.list_tokens()[0].id
    with sqlite3.connect(world.folder / "store.db") as connection:
        connection.execute("UPDATE tokens SET metadata = 'not json' WHERE id = ?", [first])
    made = world.flow(damaged)

    async def ask() -> None:
        await world.gate.requestheaders(made)
        await world.gate.request(made)
        recorder_.responseheaders(made)
        await recorder_.response(made)

    recorder_ = Recorder(world.runtime)
    asyncio.run(ask())
    assert made.response is not None
    assert made.response.status_code == 503
    assert made.response.json()["error"]["code"] == "proxy_error", "headers and body"
    assert f"token {first}: metadata cannot be read" in caplog.text
    assert "Traceback" not in caplog.text
    assert world.ask(whole).status == 0
    event = recorded(world)[0]
    assert (event["outcome"], event["error"]["code"]) == ("refused", "proxy_error")
    refusals = [row for row in world.store.audit.records() if row.action == "auth.refused"]
    assert [(row.reason, row.token_id) for row in refusals] == [("unchecked", None)]


@pytest.mark.parametrize(
    ("message", "connected", "outcome"),
    [
        ("Client disconnected.", False, "client_aborted"),
        ("stream reset by client (CANCEL)", True, "client_aborted"),
        ("server closed connection", True, "upstream_aborted"),
    ],
)
def test_errors_say_who_ended_the_call(world: Gated, message: str, connected: bool, outcome: str) -> None:
    recorder_, made = Recorder(world.runtime), begun(world)
    made.error = flow.Error(message)
    if not connected:
        made.client_conn.timestamp_end = 1
        made.client_conn.state = type(made.client_conn.state)(0)
    recorder_.error(made)
    assert [event["outcome"] for event in recorded(world)] == [outcome]

"""Which answers are read on when their clients leave (see also tests/live/test_on_abort.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http

from addons.flow.call import open_calls
from addons.hooks import drain
from addons.hooks.drain import Drain
from tests.addons.hooks.gated import HELLO, Gated, gated


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Gated]:
    with gated(tmp_path, llm_on_abort="drain", llm_drain_calls=2, llm_drain_seconds=7) as made:
        yield made
    open_calls.clear()
    drain.under_way.clear()


def begun(world: Gated, path: str = "/v1/chat/completions", **body: Any) -> http.HTTPFlow:
    """A call whose stream has begun."""
    flow = world.flow(world.token(), path, {**HELLO, "input": "hi", "stream": True, **body})

    async def pass_gate() -> None:
        await world.gate.requestheaders(flow)
        await world.gate.request(flow)
        world.usage.request(flow)

    asyncio.run(pass_gate())
    assert flow.response is None
    call = open_calls[flow.id]
    head = http.Response.make(200, headers={"content-type": "text/event-stream"})
    capture = call.answered(head).keep(2**20, watched=True)
    capture.tap(b'data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}\n\n')
    return flow


def test_a_stream_is_read_on_for_so_many_seconds(world: Gated) -> None:
    flow = begun(world)
    assert Drain(world.runtime).keep(flow) == 7
    assert open_calls[flow.id].left


def test_a_stream_whose_last_event_has_passed_is_not(world: Gated) -> None:
    flow = begun(world)
    answer = open_calls[flow.id].answer
    assert answer is not None
    assert answer.capture is not None
    answer.capture.tap(b"data: [DONE]\n\n")
    assert Drain(world.runtime).keep(flow) is None
    assert not open_calls[flow.id].left


def test_no_more_than_so_many_at_once(world: Gated, caplog: pytest.LogCaptureFixture) -> None:
    drains = Drain(world.runtime)
    flows = [begun(world) for _ in range(3)]
    assert [drains.keep(flow) for flow in flows] == [7, 7, None]
    assert "option llm_drain_calls" in caplog.text
    drain.end(flows[0].id)
    assert drains.keep(flows[2]) == 7


def test_what_would_report_no_usage_is_not(world: Gated) -> None:
    declined = begun(world, stream_options={"include_usage": False})
    refused, unknown = begun(world), world.flow(world.token())
    open_calls[refused.id].refused = "a code"
    assert [Drain(world.runtime).keep(flow) for flow in (declined, refused, unknown)] == [None] * 3


def test_a_defect_cancels_the_call(world: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = begun(world)
    monkeypatch.setattr(drain, "resolve", lambda *_: 1 / 0)
    assert Drain(world.runtime).keep(flow) is None


def test_the_connection_is_kept_until_the_drain_is_over(world: Gated) -> None:
    drains, flow = Drain(world.runtime), begun(world)
    drains.keep(flow)

    async def leave() -> None:
        leaving = asyncio.create_task(drains.client_disconnected(flow.client_conn))
        await asyncio.sleep(0.01)
        assert not leaving.done()
        drain.end(flow.id)
        await asyncio.wait_for(leaving, 10)

    asyncio.run(leave())

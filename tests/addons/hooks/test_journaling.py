"""A call is written down before it goes upstream, or it does not go (see also tests/live/test_journal.py)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http

from addons.flow.call import open_calls
from addons.hooks.journaling import Journaling
from tests.addons.hooks.gated import HELLO, Gated, gated


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Gated]:
    with gated(tmp_path) as made:
        yield made
    open_calls.clear()


def passed(world: Gated, token: str | None, body: Any = HELLO) -> http.HTTPFlow:
    """A call that the gate has judged, and the journal seen."""
    flow = world.flow(token, body=body)

    async def pass_gate() -> None:
        await world.gate.requestheaders(flow)
        await world.gate.request(flow)

    asyncio.run(pass_gate())
    Journaling(world.runtime).request(flow)
    return flow


def journal(world: Gated) -> list[dict[str, Any]]:
    lines = [
        line for file in (world.spool / "journal").glob("*.open") for line in file.read_text().splitlines()
    ]
    return [entry for line in lines if (entry := json.loads(line))["type"] == "llm_proxy_open"]


def test_a_call_is_written_down_once(world: Gated) -> None:
    flow = passed(world, world.token(), {**HELLO, "user": "ada"})
    Journaling(world.runtime).request(flow)
    (entry,) = journal(world)
    call = open_calls[flow.id]
    assert (entry["event_id"], entry["endpoint"], entry["model"]) == (call.id, "chat", "gpt-4o-mini")
    assert entry["user"]["id"] == "ada"
    assert call.opened


def test_what_is_refused_is_not(world: Gated) -> None:
    flow = passed(world, None)
    assert flow.response is not None
    assert flow.response.status_code == 401
    assert journal(world) == []


def test_a_token_that_stands_elsewhere_is_not_written(world: Gated) -> None:
    token = world.token()
    flow = world.flow(token, path=f"/v1/chat/completions/{token}")
    passed(world, token, {**HELLO, "user": token})
    assert flow.request.path.endswith(token)
    assert token not in json.dumps(journal(world))


def test_a_journal_that_cannot_be_written_stops_the_call(
    world: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = world.runtime.services
    assert services is not None

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(services.journal, "opened", full)
    flow = passed(world, world.token())
    assert flow.response is not None
    assert flow.response.json()["error"]["code"] == "spool_unavailable"
    assert open_calls[flow.id].refused == "spool_unavailable"


def test_without_a_spool_nothing_passes(world: Gated) -> None:
    flow = world.flow(world.token())

    async def pass_gate() -> None:
        await world.gate.requestheaders(flow)
        await world.gate.request(flow)

    asyncio.run(pass_gate())
    services, world.runtime.services = world.runtime.services, None
    Journaling(world.runtime).request(flow)
    world.runtime.services = services
    assert flow.response is not None
    assert flow.response.json()["error"]["code"] == "proxy_not_ready"


def test_an_agents_session_is_written_down(world: Gated) -> None:
    said = {"x-codex-turn-metadata": json.dumps({"session_id": "s1", "thread_id": "t2"})}
    passed(world, world.token(), {**HELLO, "client_metadata": said})
    passed(world, world.token())
    first, second = journal(world)
    assert first["session"] == {"id": "s1", "thread": "t2"}
    assert "session" not in second

"""Calls that processes read have the events that the thread would make, whatever becomes of the processes."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import msgspec
import pytest

from addons.flow.capture import Body
from addons.openai.pricing import price_file
from addons.recording.exchange import Exchange
from addons.recording.reading import lanes, messages, readers
from addons.recording.reading.lanes import Manner, OwnLane
from addons.recording.reading.readers import ProcessReader, ThreadReader
from store.core.event import UsageEvent
from store.core.secret import Secret
from store.keys.project_keys import StoredKey
from store.tokens.models import Grant, Project, Token
from store.tokens.store import TokenStore
from tests.addons.recording.test_worker import exchange

KEY = "sk-real-0123456789abcdefghij"
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi."}}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
}
ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"My key is {KEY}."}]}
STREAM = [
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n',
    b"data: [DONE]\n\n",
]


def grant() -> Grant:
    now = datetime.now(UTC)
    team, user = MappingProxyType({"team": "x"}), MappingProxyType({"user_id": "u1"})  # as the store has them
    project = Project("proj_1", "acme", StoredKey(f"plain:{KEY}"), True, now, now, metadata=team)
    token = Token("tok_1", "llmp-ab", "proj_1", True, now, None, None, 0, None, metadata=user)
    return Grant(project, token)


def call() -> Exchange:
    made = exchange(json.dumps(ASKED).encode(), json.dumps(ANSWER).encode())
    return replace(made, grant=grant(), secrets=[Secret(KEY)])


def streamed() -> Exchange:
    made = call()
    times = [made.started + 0.1, made.started + 0.2, made.started + 0.3]
    body = Body(b"".join(STREAM), size=sum(map(len, STREAM)), chunks=list(STREAM), times=times)
    return replace(made, response_headers=[("content-type", "text/event-stream")], response_body=body)


def odd() -> Exchange:
    """A call whose texts hold what JSON and UTF-8 do not know."""
    body = json.dumps({**ASKED, "user": "half \ud83d", "seed": 10**30}).encode()
    made = replace(call(), request_body=Body(body))
    return replace(made, request_headers=[*made.request_headers, ("user-agent", "caf\udce9")])


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessReader]:
    reader = ProcessReader([OwnLane()])
    yield reader
    reader.close()


def plain(event: UsageEvent) -> dict[str, Any]:
    """The fields of an event, without the bodies."""
    return {name: getattr(event, name) for name in event.__struct_fields__ if name not in BODIES}


BODIES = ("request", "response")


@pytest.mark.parametrize("make", [call, streamed, odd])
def test_a_process_makes_of_a_call_what_the_thread_makes(processes: ProcessReader, make: Any) -> None:
    one = make()
    (there,), (here,) = processes.read([one], Manner()), ThreadReader().read([one], Manner())
    assert there[1] == here[1]
    assert KEY.encode() not in there[1]
    assert plain(there[0]) == plain(here[0])
    assert json.loads(there[1])["project_id"] == "proj_1"


def test_a_process_does_without_mitmproxy(processes: ProcessReader) -> None:
    """It would take half as much memory again, and half a second."""
    processes.read([call()], Manner())
    assert "mitmproxy" not in Path(f"/proc/{processes.figures().pids[0]}/maps").read_text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as /proc tells, and glibc does")
def test_long_bodies_lie_in_memory_that_is_there(processes: ProcessReader) -> None:
    """The kernel made 180 pages for each, where several are read together."""
    long = json.dumps({**ASKED, "user": "a word " * 30_000}).encode()

    def read(times: int) -> int:
        for _ in range(times):
            processes.read([replace(call(), request_body=Body(long, size=len(long)))] * 2, Manner())
        stat = Path(f"/proc/{processes.figures().pids[0]}/stat").read_text()
        return int(stat.rpartition(")")[2].split()[7])  # minor faults

    before = read(20)
    assert read(20) - before < 20 * 2 * 40


def test_the_bodies_come_along_where_they_are_wanted(processes: ProcessReader) -> None:
    (event, _), *_ = processes.read([call()], Manner(whole=True))
    assert event.response.body["choices"][0]["message"]["content"] == "Hi."  # type: ignore[union-attr]
    (event, _), *_ = processes.read([call()], Manner())
    assert event.response is msgspec.UNSET


def test_what_is_kept_and_by_what_is_priced_is_as_it_is_now(processes: ProcessReader) -> None:
    assert b"messages" not in processes.read([call()], Manner(capture="none"))[0][1]
    text = "- id: openai\n  models:\n    - id: gpt-4o-mini\n      match: {starts_with: gpt-4o-mini}\n" + (
        "      prices: {input_mtok: 1000, output_mtok: 1000}\n"
    )
    manner = Manner(prices=price_file.parse(text, "mine.yaml"))
    for _ in range(2):  # the second message does not say the prices again
        event, _ = processes.read([call()], manner)[0]
        assert event.cost is not None
        assert event.cost.usd == "0.015"
    event, _ = processes.read([call()], Manner())[0]
    assert event.cost is not None
    assert event.cost.usd != "0.015"


def test_a_killed_process_is_started_again_and_reads_the_call(processes: ProcessReader) -> None:
    before = processes.figures()
    os.kill(before.pids[0], signal.SIGKILL)
    found = processes.read([call(), streamed()], Manner())
    assert [event.outcome for event, _ in found] == ["ok", "ok"]
    after = processes.figures()
    assert after.restarts == before.restarts + 1
    assert after.pids != before.pids
    assert after.outlined == before.outlined


def test_a_call_that_ends_every_process_is_recorded_in_outline_and_takes_no_other_along(
    processes: ProcessReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = call(), call()
    ask = OwnLane.ask

    def deadly(self: OwnLane, exchanges: Any, manner: Manner) -> Any:
        if bad in exchanges:
            self.close(at_once=True)
            raise lanes.Died("killed")
        return ask(self, exchanges, manner)

    monkeypatch.setattr(OwnLane, "ask", deadly)
    before = processes.figures().outlined
    (outlined, line), (whole, _) = processes.read([bad, good], Manner())
    assert (outlined.usage, outlined.usage_missing_code) == (None, "unread")
    assert KEY.encode() not in line
    assert whole.usage is not None
    assert processes.figures().outlined == before + 1


def test_where_no_process_can_be_started_the_thread_reads(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lanes.sys, "executable", "/nowhere/python")  # type: ignore[attr-defined]
    reader = ProcessReader([OwnLane()])
    assert reader.read([call()], Manner())[0][0].outcome == "ok"
    assert "a thread reads calls for 60 s" in caplog.text
    monkeypatch.undo()
    reader.read([call()], Manner())
    assert reader.figures().pids == ()
    monkeypatch.setattr(readers, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 61))
    reader.read([call()], Manner())
    assert len(reader.figures().pids) == 1
    reader.close()


def test_what_cannot_be_handed_over_is_read_in_the_thread(processes: ProcessReader) -> None:
    stubborn = replace(call(), batch=("batch_1", lambda: None), outcome="client_aborted")  # type: ignore[arg-type]
    found = processes.read([call(), stubborn, call()], Manner())
    assert [event.usage.total_tokens for event, _ in found if event.usage] == [15, 15, 15]
    assert found[1][0].event_id == stubborn.id


def test_several_processes_keep_the_order_of_the_calls() -> None:
    reader = ProcessReader([OwnLane(), OwnLane()])
    try:
        calls = [call() for _ in range(100)]
        found = reader.read(calls, Manner())
        assert [event.event_id for event, _ in found] == [one.id for one in calls]
        assert len(set(reader.figures().pids)) == 2
    finally:
        reader.close()


def test_no_key_of_a_project_goes_to_a_process_and_no_secret_by_itself() -> None:
    data = messages.pack_work([replace(call(), secrets=[])], capture="all", prices=messages.BUNDLED_KEY)
    assert data.count(KEY.encode()) == 1, "the one in the request's body"
    with pytest.raises(TypeError):
        pickle.dumps(call())


def test_whatever_the_store_knows_of_a_token_can_be_handed_over(tmp_path: Path) -> None:
    store = TokenStore.open(tmp_path / "store.db")
    fields = {"metadata": {"team": "x"}, "parameters": {"temperature": "0..1"}, "header_metadata": ["run"]}
    project = store.create_project("acme", KEY, **fields)
    token, _ = store.create_token(project.id, name="ranking", **fields)
    store.close()
    made = replace(call(), grant=Grant(project, token))
    data = messages.pack_work([made], capture="all", prices=messages.BUNDLED_KEY)
    (task,) = messages.unpack_work(data).tasks
    given = task.exchange.grant
    assert given is not None
    assert (given.token, given.project.metadata) == (token, project.metadata)
    assert given.project.key == StoredKey("")


def test_what_a_process_would_log_the_proxy_logs(
    processes: ProcessReader, caplog: pytest.LogCaptureFixture
) -> None:
    broken = replace(call(), method=None)  # type: ignore[arg-type]
    (event, _), *_ = processes.read([broken], Manner())
    assert event.event_id == broken.id
    assert f"call {broken.id} is recorded in outline only" in caplog.text

from __future__ import annotations

import asyncio
import gc
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mitmproxy import exceptions, http
from mitmproxy.addons.view import View
from mitmproxy.io import FlowReader, FlowWriter
from mitmproxy.test import taddons, tflow
from msgspec.structs import replace

from addons.flow import flow_metadata
from addons.hooks.inspector import Inspector, content_view
from addons.hooks.inspector.figures import FAILED
from addons.recording.event_builder import event_of
from addons.runtime import Runtime
from store.core.codes import Outcome
from store.core.event import UsageEvent
from store.core.event_fields import to_fields
from tests.addons.recording.test_event_builder import exchange


class Shown:
    """An inspector with a view, and the worker's end of the hand-over."""

    def __init__(self, context: Any, keep: int = 0) -> None:
        self.worker = SimpleNamespace(on_recorded=None)
        runtime = SimpleNamespace(
            services=SimpleNamespace(worker=self.worker), settings=SimpleNamespace(keep_flows=keep)
        )
        self.view = View()
        self.updated: list[Any] = []
        self.inspector = Inspector(cast(Runtime, runtime))
        context.master.addons.add(self.view, self.inspector, self)
        self.inspector.running()

    def update(self, flows: Any) -> None:
        """mitmproxy's hook: these flows have changed."""
        self.updated += flows

    def begin(self, call: str = "0190-call") -> http.HTTPFlow:
        flow = tflow.tflow(resp=True)
        flow.metadata[flow_metadata.CALL] = call
        self.view.add([flow])
        self.inspector.requestheaders(flow)
        return flow

    async def record(self, *events: UsageEvent) -> None:
        """As the worker does, in a thread of its own."""
        assert self.worker.on_recorded is not None
        await asyncio.to_thread(self.worker.on_recorded, events)
        await asyncio.sleep(0)


async def test_the_event_comes_back_to_its_flow() -> None:
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        shown = Shown(context)
        flow = shown.begin()
        event = event_of(exchange())
        await shown.record(event, replace(event, event_id="another"))
        assert flow.comment == "gpt-4o-mini-2024-07-18 · 9→1 tok · $0.0000020 · 1.5 s"
        assert flow.marked == ""
        assert shown.updated == [flow]
        assert flow.metadata[flow_metadata.EVENT] == {
            k: v for k, v in to_fields(event).items() if k not in ("request", "response")
        }


async def test_failed_calls_are_marked_and_a_persons_words_stay() -> None:
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        shown = Shown(context)
        plain, worded = shown.begin("a"), shown.begin("b")
        worded.comment, worded.marked = "look here", ":star:"
        failed = event_of(exchange(status=500))
        await shown.record(replace(failed, event_id="a"), replace(failed, event_id="b"))
        assert plain.marked == plain.metadata[flow_metadata.MARK] == FAILED
        assert (worded.comment, worded.marked) == ("look here", ":star:")
        assert flow_metadata.MARK not in worded.metadata
        assert flow_metadata.EVENT in worded.metadata


async def test_a_streams_answer_is_kept_as_one_object_beside_the_flow() -> None:
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        shown = Shown(context)
        flow = shown.begin()
        event = event_of(exchange())
        await shown.record(replace(event, stream=True))
        assert content_view.assembled[flow]["choices"][0]["message"]["content"] == "hi"


async def test_flows_with_their_events_can_be_saved() -> None:
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        shown = Shown(context)
        flow = shown.begin()
        odd = UsageEvent(
            event_id="0190-call",
            model="half \ud800",
            finish_reasons=("a", "b"),  # type: ignore[arg-type]
            outcome=Outcome.TIMEOUT,
        )
        await shown.record(odd)
        saved = io.BytesIO()
        FlowWriter(saved).add(flow)
        saved.seek(0)
        (again,) = FlowReader(saved).stream()
        assert again.metadata[flow_metadata.EVENT]["finish_reasons"] == ["a", "b"]
        assert again.comment == "timeout · half ?"


async def test_flows_that_are_gone_are_not_held() -> None:
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        shown = Shown(context)
        shown.view.remove([shown.begin()])
        gc.collect()
        await shown.record(event_of(exchange()))
        assert shown.updated == []


async def test_without_a_view_the_worker_is_not_listened_to() -> None:
    worker = SimpleNamespace(on_recorded=None)
    runtime = SimpleNamespace(services=SimpleNamespace(worker=worker))
    with taddons.context():  # type: ignore[no-untyped-call]
        inspector = Inspector(cast(Runtime, runtime))
        inspector.running()
        assert worker.on_recorded is None
        flow = tflow.tflow(resp=True)
        flow.metadata[flow_metadata.CALL] = "x"
        for hook in (inspector.requestheaders, inspector.response, inspector.error, inspector.websocket_end):
            hook(flow)


async def test_finished_calls_beyond_the_limit_leave_the_view() -> None:
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        shown = Shown(context, keep=3)
        for number in range(8):
            flow = shown.begin(str(number))
            (shown.inspector.response if number % 2 else shown.inspector.error)(flow)
            flow.live = False
        loaded = tflow.tflow(resp=True)
        loaded.live = False
        shown.view.add([loaded])
        shown.inspector.response(loaded)
        assert shown.view.store_count() == 4
        assert shown.view.get_by_id(loaded.id)


async def test_a_reload_of_the_script_goes_on_with_what_was_begun() -> None:
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        shown = Shown(context, keep=1)
        ended, open_ = shown.begin("ended"), shown.begin("open")
        shown.inspector.response(ended)
        ended.live = False
        context.master.addons.remove(shown.inspector)
        successor = Inspector(shown.inspector.runtime)
        context.master.addons.add(successor)
        successor.running()
        await shown.record(replace(event_of(exchange()), event_id="open"))
        assert open_.comment
        successor.response(open_)
        assert not shown.view.get_by_id(ended.id)


async def test_commands(tmp_path: Path) -> None:
    with taddons.context() as context:  # type: ignore[no-untyped-call]
        shown = Shown(context)
        for name in ("a", "b"):
            flow = shown.begin(name)
            await shown.record(replace(event_of(exchange()), event_id=name))
            assert flow.comment
        shown.view.add([tflow.tflow()])  # no call
        run = context.master.commands.call_strings
        line = "gpt-4o-mini-2024-07-18 · 9→1 tok · $0.0000020 · 1.5 s"
        total = "all: 2 calls · 18→2 tok · $0.0000039"
        assert run("llmproxy.usage", ["@all"]) == [line, line, total]
        for by, name in (
            ("model", "gpt-4o-mini-2024-07-18"),
            ("project", "no project"),
            ("token", "no token"),
        ):
            assert run("llmproxy.spend", ["@all", by]) == [f"{name}: 2 calls · 18→2 tok · $0.0000039", total]
        assert run("llmproxy.spend", ["@all"])[-1] == total
        with pytest.raises(exceptions.CommandError, match="sum by one of model, project, token"):
            run("llmproxy.spend", ["@all", "day"])

        file = tmp_path / "calls.jsonl"
        assert run("llmproxy.export", ["@all", str(file)]) == f"2 events written to {file}"
        written = [json.loads(text) for text in file.read_text("utf-8").splitlines()]
        assert [event["event_id"] for event in written] == ["a", "b"]
        assert not {"request", "response"} & written[0].keys()
        with pytest.raises(exceptions.CommandError, match="File exists"):
            run("llmproxy.export", ["@all", str(file)])

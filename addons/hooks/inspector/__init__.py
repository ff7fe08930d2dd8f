"""Show a person the calls in mitmweb and in mitmproxy.

A content view, a comment and a mark on each flow, commands over selected flows, and a bound on how many flows
are kept. Under mitmdump, which has no view of flows, only the content view is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from mitmproxy import command, ctx, exceptions, flow, hooks, http, tcp, types
from mitmproxy.addonmanager import Loader
from msgspec import UNSET
from msgspec.structs import replace

from addons.flow import flow_metadata
from addons.flow.fail_closed import observe_only
from addons.hooks.inspector import content_view, figures, kept
from addons.runtime import Runtime
from store.core.event import BaseRecord, Fields, UsageEvent
from store.core.event_fields import read_record, to_fields

logger = logging.getLogger(__name__)

awaiting: WeakValueDictionary[str, http.HTTPFlow] = WeakValueDictionary()
"""Flows by the ids of their calls, until the events are there. Module state, which outlives a reload."""


class Inspector:
    """Shows; nothing that goes wrong here reaches a client."""

    name = "llmproxy-inspector"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.kept: kept.Kept | None = None
        """Set where flows are shown."""

    def load(self, _: Loader) -> None:
        content_view.register()

    def running(self) -> None:
        view = ctx.master.addons.get("view")
        if view is None or self.runtime.services is None:
            return
        self.kept = kept.of(view)
        if "web_columns" in ctx.options and not ctx.options.has_changed("web_columns"):
            ctx.options.update(web_columns=[*ctx.options.web_columns, "comment"])
            # Only mitmweb has what this imports.
            from addons.mitm.web_columns import widen_comments  # noqa: PLC0415

            widen_comments(ctx.master)
        loop = asyncio.get_running_loop()

        def hand_over(records: Sequence[BaseRecord]) -> None:
            """Hand little, and plain, data to the loop; in the worker's thread."""
            found = [_shown(record) for record in records]
            with contextlib.suppress(RuntimeError):  # the proxy has ended meanwhile
                loop.call_soon_threadsafe(self._show, found)

        self.runtime.services.worker.on_recorded = hand_over

    @observe_only
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if self.kept and isinstance(call := flow.metadata.get(flow_metadata.CALL), str) and flow.live:
            awaiting[call] = flow

    @observe_only
    def response(self, flow: http.HTTPFlow) -> None:
        if flow.websocket is None:
            self._ended(flow)

    @observe_only
    def error(self, flow: http.HTTPFlow) -> None:
        self._ended(flow)

    @observe_only
    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self._ended(flow)

    @observe_only
    def tcp_end(self, flow: tcp.TCPFlow) -> None:
        self._ended(flow)

    tcp_error = tcp_end

    @command.command("llmproxy.usage")  # type: ignore[untyped-decorator]
    def usage(self, flows: Sequence[flow.Flow]) -> Sequence[str]:
        """Give what each of the flows used and cost, one line a call, and the sum."""
        events = [read_record(event, UsageEvent) for event in _events(flows)]
        return [*(figures.comment(event) for event in events), figures.spend(events, "model")[-1]]

    @command.command("llmproxy.spend")  # type: ignore[untyped-decorator]
    def spend(self, flows: Sequence[flow.Flow], by: str = "model") -> Sequence[str]:
        """Give what the flows cost by model, project or token, the dearest first."""
        if by not in figures.SUMMED_BY:
            raise exceptions.CommandError(f"sum by one of {', '.join(figures.SUMMED_BY)}, not by {by!r}")
        return figures.spend([read_record(event, UsageEvent) for event in _events(flows)], by)

    @command.command("llmproxy.export")  # type: ignore[untyped-decorator]
    def export(self, flows: Sequence[flow.Flow], path: types.Path) -> str:
        """Write the events of the flows, without what was said, to a new file as JSON Lines."""
        events = _events(flows)
        lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
        try:
            with Path(path).expanduser().open("x", encoding="utf-8") as file:
                file.write(lines)
        except OSError as error:
            raise exceptions.CommandError(f"{path}: {error.strerror}") from error
        done = f"{len(events)} events written to {path}"
        logger.info("llmproxy: %s", done)
        return done

    def _ended(self, ended: flow.Flow) -> None:
        if self.kept and ended.live:
            self.kept.finished(ended, self.runtime.settings.keep_flows)

    def _show(self, events: Sequence[tuple[Fields, Any]]) -> None:
        """Put what became of the calls on their flows, on the loop, if those are still there."""
        updated = []
        for fields, output in events:
            event = read_record(fields, UsageEvent)
            shown = awaiting.pop(str(event.event_id), None)
            if shown is None:
                continue
            shown.metadata[flow_metadata.EVENT] = fields
            if output is not None:
                content_view.assembled[shown] = output
            # What a person has written stays.
            shown.comment = shown.comment or figures.comment(event)
            if (mark := figures.mark(event)) and not shown.marked:
                shown.marked = shown.metadata[flow_metadata.MARK] = mark
            updated.append(shown)
        if updated:
            ctx.master.addons.trigger(hooks.UpdateHook(updated))


def _shown(record: BaseRecord) -> tuple[Fields, Any]:
    """Give the record without what was said, as data that can be saved with a flow; and a stream's answer."""
    answer = None
    if isinstance(record, UsageEvent):
        answer = record.response.body if record.stream and record.response is not UNSET else None
        record = replace(record, request=UNSET, response=UNSET)  # the flow has that already
    # tnetstrings know no tuples, and no halves of surrogate pairs.
    text = json.dumps(to_fields(record), ensure_ascii=False).encode("utf-8", "replace")
    return json.loads(text), answer


def _events(flows: Sequence[flow.Flow]) -> list[Fields]:
    """Give the events of those flows that are calls, and over."""
    held = (each.metadata.get(flow_metadata.EVENT) for each in flows)
    return [event for event in held if isinstance(event, dict)]

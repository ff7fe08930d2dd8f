"""The inspector: what a person sees of the calls in mitmweb and in mitmproxy.

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

from addons import marks
from addons.fail_closed import observe_only
from addons.inspector import content_view, figures, kept
from addons.runtime import Runtime
from store.event import Event

logger = logging.getLogger(__name__)

CONTENT = ("request", "response")
"""Fields of an event that hold what was said; the flow has that already."""

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
        loop = asyncio.get_running_loop()

        def hand_over(events: Sequence[Event]) -> None:
            """In the worker's thread: the loop gets little, and plain, data."""
            found = [_shown(event) for event in events]
            with contextlib.suppress(RuntimeError):  # the proxy has ended meanwhile
                loop.call_soon_threadsafe(self._show, found)

        self.runtime.services.worker.on_recorded = hand_over

    @observe_only
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if self.kept and isinstance(call := flow.metadata.get(marks.CALL), str) and flow.live:
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
        """What each of the flows used and cost, one line a call, and the sum."""
        events = _events(flows)
        return [*(figures.comment(event) for event in events), figures.spend(events, "model")[-1]]

    @command.command("llmproxy.spend")  # type: ignore[untyped-decorator]
    def spend(self, flows: Sequence[flow.Flow], by: str = "model") -> Sequence[str]:
        """What the flows cost by model, project or token, the dearest first."""
        if by not in figures.SUMMED_BY:
            raise exceptions.CommandError(f"sum by one of {', '.join(figures.SUMMED_BY)}, not by {by!r}")
        return figures.spend(_events(flows), by)

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

    def _show(self, events: Sequence[tuple[Event, Any]]) -> None:
        """On the loop: put what became of the calls on their flows, if those are still there."""
        updated = []
        for event, output in events:
            shown = awaiting.pop(str(event.get("event_id")), None)
            if shown is None:
                continue
            shown.metadata[marks.EVENT] = event
            if output is not None:
                content_view.assembled[shown] = output
            # What a person has written stays.
            shown.comment = shown.comment or figures.comment(event)
            if (mark := figures.mark(event)) and not shown.marked:
                shown.marked = shown.metadata[marks.MARK] = mark
            updated.append(shown)
        if updated:
            ctx.master.addons.trigger(hooks.UpdateHook(updated))


def _shown(event: Event) -> tuple[Event, Any]:
    """The event without what was said, as data that can be saved with a flow; and a stream's answer."""
    small = {key: value for key, value in event.items() if key not in CONTENT}
    # tnetstrings know no tuples, and no halves of surrogate pairs.
    text = json.dumps(small, ensure_ascii=False).encode("utf-8", "replace")
    answer = event.get("response") if event.get("stream") else None
    return json.loads(text), answer.get("body") if isinstance(answer, dict) else None


def _events(flows: Sequence[flow.Flow]) -> list[Event]:
    """The events of those flows that are calls, and over."""
    held = (each.metadata.get(marks.EVENT) for each in flows)
    return [event for event in held if isinstance(event, dict)]

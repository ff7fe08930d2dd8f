"""The event stream of the Responses API becomes the response object.

The last event holds the whole object. Only where it never came (the stream was cut, or its end was too long
to keep) the object is built from what did: the first event's response, the finished items, the deltas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]

FINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})

# Event type of a delta -> the field of its item (or of its content part) that it adds to.
PART_DELTAS = {
    "response.output_text.delta": ("output_text", "text"),
    "response.refusal.delta": ("refusal", "refusal"),
    "response.reasoning_text.delta": ("reasoning_text", "text"),
}
SUMMARY_DELTA = "response.reasoning_summary_text.delta"
ITEM_DELTAS = {
    "response.function_call_arguments.delta": ("function_call", "arguments"),
    "response.custom_tool_call_input.delta": ("custom_tool_call", "input"),
    "response.mcp_call_arguments.delta": ("mcp_call", "arguments"),
    "response.code_interpreter_call_code.delta": ("code_interpreter_call", "code"),
}


def response(events: Iterable[Json]) -> Json | None:
    """The response of a stream's events; None where no event tells of one."""
    builder = Builder()
    for event in events:
        builder.take(event)
    return builder.result()


class Builder:
    """Collects events, whole or not, in any state of the stream."""

    def __init__(self) -> None:
        self._response: Json | None = None
        self._final = False
        self._items: dict[int, Json] = {}
        self._done: set[int] = set()
        self._seen = False

    def take(self, event: Json) -> None:
        kind = event.get("type")
        kind = kind if isinstance(kind, str) else ""
        whole = event.get("response")
        if isinstance(whole, dict):
            if not self._final:
                self._response = whole
            self._final = self._final or kind in FINAL
            return
        index = event.get("output_index")
        index = index if isinstance(index, int) else 0
        item = event.get("item")
        if isinstance(item, dict) and kind in ("response.output_item.added", "response.output_item.done"):
            self._seen = True
            self._items[index] = item
            if kind.endswith(".done"):
                self._done.add(index)
        elif index not in self._done and isinstance(event.get("delta"), str):
            self._add_delta(kind, index, event)

    def _add_delta(self, kind: str, index: int, event: Json) -> None:
        if kind in PART_DELTAS:
            part_type, field = PART_DELTAS[kind]
            item = self._item(index, "reasoning" if part_type == "reasoning_text" else "message", event)
            part = _part(item, "content", event.get("content_index"), part_type)
        elif kind == SUMMARY_DELTA:
            field = "text"
            item = self._item(index, "reasoning", event)
            part = _part(item, "summary", event.get("summary_index"), "summary_text")
        elif kind in ITEM_DELTAS:
            item_type, field = ITEM_DELTAS[kind]
            part = self._item(index, item_type, event)
        else:
            return
        before = part.get(field)
        part[field] = (before if isinstance(before, str) else "") + event["delta"]

    def _item(self, index: int, kind: str, event: Json) -> Json:
        self._seen = True
        return self._items.setdefault(
            index, {"type": kind, "id": event.get("item_id"), "status": "in_progress"}
        )

    def result(self) -> Json | None:
        if self._response is None and not self._seen:
            return None
        whole = dict(self._response or {"object": "response", "status": "in_progress"})
        if not self._final and self._items:
            whole["output"] = [self._items[index] for index in sorted(self._items)]
        return whole


def _part(item: Json, field: str, index: object, kind: str) -> Json:
    parts = item.get(field)
    if not isinstance(parts, list):
        parts = item[field] = []
    wanted = index if isinstance(index, int) and 0 <= index < 1000 else 0
    while len(parts) <= wanted:
        parts.append({"type": kind})
    part = parts[wanted]
    if not isinstance(part, dict):
        part = parts[wanted] = {"type": kind}
    return part


def texts(response: Mapping[str, Any]) -> list[str]:
    """The visible texts of a response: output text and refusals."""
    found: list[str] = []
    output = response.get("output")
    for item in output if isinstance(output, list) else []:
        content = item.get("content") if isinstance(item, dict) and item.get("type") == "message" else None
        for part in content if isinstance(content, list) else []:
            if isinstance(part, dict):
                text = part.get("text") or part.get("refusal")
                if isinstance(text, str):
                    found.append(text)
    return found

"""The event stream of the Responses API becomes the response object.

The last event holds the whole object. Only where it never came (the stream was cut, or its end was too long
to keep) the object is built from what did: the first event's response, the finished items, the deltas.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from addons.openai.http.values import Json, append_text, child, children, index, objects, place, text

FINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})

# What an event tells of -> the item it belongs to, the list of parts within that, the key of the part's
# index in the event, the part's type, and the part's field.
PARTS = {
    "output_text": ("message", "content", "content_index", "output_text", "text"),
    "refusal": ("message", "content", "content_index", "refusal", "refusal"),
    "reasoning_text": ("reasoning", "content", "content_index", "reasoning_text", "text"),
    "reasoning_summary_text": ("reasoning", "summary", "summary_index", "summary_text", "text"),
    "audio": ("message", "content", "content_index", "output_audio", "data"),
    "audio.transcript": ("message", "content", "content_index", "output_audio", "transcript"),
}
WHOLE_PARTS = {
    "content_part": ("message", "content", "content_index"),
    "reasoning_summary_part": ("reasoning", "summary", "summary_index"),
}
# The same for a field of the item itself.
FIELDS = {
    "function_call_arguments": ("function_call", "arguments"),
    "custom_tool_call_input": ("custom_tool_call", "input"),
    "mcp_call_arguments": ("mcp_call", "arguments"),
    "code_interpreter_call_code": ("code_interpreter_call", "code"),
}
MOST_COMMANDS = 100
"""Commands of one shell call, at most."""
STATES = frozenset(
    {"in_progress", "searching", "interpreting", "generating", "completed", "failed", "incomplete"}
)


def response(events: Iterable[Json]) -> Json | None:
    """Give the response of a stream's events; None where no event tells of one."""
    builder = Builder()
    for event in events:
        builder.take(event)
    return builder.result()


class Builder:
    """Collects events, whole or not, in any state of the stream."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._response: Json | None = None
        self._final = False
        self._items: dict[int, Json] = {}
        self._done: set[int] = set()

    def take(self, event: Json) -> None:
        kind = text(event.get("type"))
        whole = event.get("response")
        if isinstance(whole, dict):
            if self._final and kind == "response.created":
                self._begin()  # an agent's gateway may send one answer after the other: the last counts
            if not self._final:
                beside = event.get("usage")
                told = isinstance(beside, dict) and not whole.get("usage")
                self._response = {**whole, "usage": beside} if told else whole
            self._final = self._final or kind in FINAL
        elif kind.startswith("response."):
            what, _, step = kind.removeprefix("response.").rpartition(".")
            self._take_part(what, step, event)

    def _take_part(self, what: str, step: str, event: Json) -> None:
        at = self._place(what, event)
        if what == "output_item":
            item = event.get("item")
            if isinstance(item, dict) and step in ("added", "done"):
                self._items[at] = item if step == "done" else copy.deepcopy(item)
                if step == "done":
                    self._done.add(at)
        elif at in self._done:
            return  # the item is whole already
        elif what in PARTS:
            kind, holder, number, part_type, field = PARTS[what]
            part = self._part(at, kind, holder, index(event, number), part_type, event)
            _add(part, field, step, event)
            if what == "output_text" and objects(event.get("logprobs")):
                before = children(part, "logprobs") if step == "delta" else []
                part["logprobs"] = [*before, *event["logprobs"]]
        elif what in WHOLE_PARTS and isinstance(event.get("part"), dict):
            kind, holder, number = WHOLE_PARTS[what]
            part_type = text(event["part"].get("type"))
            self._part(at, kind, holder, index(event, number), part_type, event).update(
                copy.deepcopy(event["part"])
            )
        elif what in FIELDS:
            _add(self._item(at, FIELDS[what][0], event), FIELDS[what][1], step, event)
        else:
            self._take_tool(what, step, at, event)

    def _take_tool(self, what: str, step: str, at: int, event: Json) -> None:
        """Take what else a tool tells. The types that the SDK does not know yet were seen on the wire."""
        if what == "output_text.annotation":
            part = self._part(at, "message", "content", index(event, "content_index"), "output_text", event)
            children(part, "annotations").append(event.get("annotation"))
        elif what == "shell_call_command":
            commands = children(child(self._item(at, "shell_call", event), "action"), "commands")
            number = min(max(index(event, "command_index") or 0, 0), MOST_COMMANDS)
            commands += [""] * (number + 1 - len(commands))
            command = {"command": commands[number]}
            _add(command, "command", step, event)
            commands[number] = command["command"]
        elif what == "shell_call_output_content":
            self._add_shell_output(at, step, event)
        elif what == "apply_patch_call_operation_diff":
            operation = child(self._item(at, "apply_patch_call", event), "operation")
            _add(operation, "diff", step, event)
        elif step == "partial_image":
            self._item(at, what, event)["result"] = event.get("partial_image_b64")
        elif step in STATES and (what.endswith("_call") or what == "mcp_list_tools"):
            self._item(at, what, event)["status"] = step
        elif at in self._items and isinstance(event.get("delta"), str):
            # A type of a later day: named after its item, and the item's field.
            field = what.removeprefix(text(self._items[at].get("type"))).strip("._")
            append_text(self._items[at], field or what, event["delta"])

    def _add_shell_output(self, at: int, step: str, event: Json) -> None:
        item = self._item(at, "shell_call_output", event)
        if step == "done" and isinstance(event.get("output"), list):
            item["output"] = event["output"]
        elif isinstance(event.get("delta"), dict):
            chunk = place(children(item, "output"), index(event, "command_index"), {})
            for key, value in event["delta"].items():
                append_text(chunk, key, value)

    def _place(self, what: str, event: Json) -> int:
        """Find the item's place in the output; servers that leave it out name the item, or mean the last."""
        at = index(event, "output_index")
        if at is not None:
            return at
        item = event.get("item")
        wanted = item.get("id") if isinstance(item, dict) else event.get("item_id")
        for place_, known in self._items.items():
            if wanted is not None and known.get("id") == wanted:
                return place_
        last = max(self._items, default=-1)
        return last + 1 if what == "output_item" else max(last, 0)

    def _item(self, at: int, kind: str, event: Json) -> Json:
        return self._items.setdefault(at, {"type": kind, "id": event.get("item_id"), "status": "in_progress"})

    def _part(self, at: int, kind: str, holder: str, number: int | None, part_type: str, event: Json) -> Json:
        return place(children(self._item(at, kind, event), holder), number, {"type": part_type})

    def result(self) -> Json | None:
        if self._response is None and not self._items:
            return None
        whole = dict(self._response or {"object": "response", "status": "in_progress"})
        if self._items and not (self._final and whole.get("output")):
            whole["output"] = [self._items[at] for at in sorted(self._items)]
        return whole


def _add(holder: Json, field: str, step: str, event: Json) -> None:
    """Add a delta to the field; ``done`` says it whole, under the field's own name."""
    if step == "delta":
        append_text(holder, field, event.get("delta"))
    elif step in ("added", "done") and isinstance(event.get(field), str):
        holder[field] = event[field]


def texts(response: Mapping[str, Any]) -> list[str]:
    """Give the visible texts of a response: output text and refusals."""
    found: list[str] = []
    for item in objects(response.get("output")):
        for part in objects(item.get("content")) if item.get("type") == "message" else []:
            said = part.get("text") or part.get("refusal")
            if isinstance(said, str):
                found.append(said)
    return found

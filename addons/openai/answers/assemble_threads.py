"""The event stream of a thread's run becomes the run.

Without streaming the call returns the run as it begins, and the rest is fetched later. A stream tells all:
here it is the run's last state, with what the later calls would return under `steps` and `messages`
(and `thread`, where the stream has made one).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from addons.openai.http.values import Json, append_text, children, index, objects, text
from addons.openai.usage import usage as usages
from addons.openai.usage.usage import Usage

TEXTS = frozenset({"value", "arguments", "input", "logs", "output", "refusal"})
"""Fields whose deltas are joined; the others come whole."""
SINGLE = {"thread": "thread", "thread.run": "run"}
LISTS = {"thread.run.step": "steps", "thread.message": "messages"}


def run(events: Iterable[Json]) -> Json | None:
    """Give the run of a stream's events; None where no event tells of one."""
    found: dict[str, Json] = {}
    lists: dict[str, dict[str, Json]] = {"steps": {}, "messages": {}}
    for event in events:
        kind = text(event.get("object")) or text(event.get("type"))
        whole = kind.removesuffix(".delta")
        if whole in SINGLE:
            found[SINGLE[whole]] = event
        elif whole in LISTS:
            members, key = lists[LISTS[whole]], str(event.get("id"))
            if kind == whole:
                members[key] = copy.deepcopy(event)
            elif isinstance(event.get("delta"), dict):
                begun = {"id": event.get("id"), "object": whole}
                _merge(members.setdefault(key, begun), event["delta"])
    if not found and not any(lists.values()):
        return None
    result = dict(found.get("run") or {"object": "thread.run", "status": "in_progress"})
    if "thread" in found:
        result["thread"] = found["thread"]
    for name, members in lists.items():
        if members:
            result[name] = [_without_index(member) for member in members.values()]
    return result


def usage_of_steps(run: Json) -> Usage | None:
    """Give what the finished steps used: a part of what the run will have; None where none is finished."""
    found = (usages.read(step.get("usage")) for step in objects(run.get("steps")))
    return usages.total(usage for usage in found if usage is not None)


def texts(run: Json) -> list[str]:
    """Give the texts of the run's messages."""
    parts = [
        part.get("text")
        for message in objects(run.get("messages"))
        for part in objects(message.get("content"))
    ]
    return [said for part in parts if isinstance(part, dict) and (said := text(part.get("value")))]


def _merge(whole: Json, delta: Json) -> None:
    for key, value in delta.items():
        if isinstance(value, dict):
            if not isinstance(whole.get(key), dict):
                whole[key] = {}
            _merge(whole[key], value)
        elif isinstance(value, list):
            _merge_list(children(whole, key), value)
        elif key in TEXTS and isinstance(value, str):
            append_text(whole, key, value)
        elif value is not None or key not in whole:
            whole[key] = value


def _merge_list(whole: list[Any], delta: list[Any]) -> None:
    """Merge members that have an index into the one of that index."""
    for value in delta:
        at = index(value) if isinstance(value, dict) else None
        if at is None:
            whole.append(value)
            continue
        same = next((item for item in objects(whole) if item.get("index") == at), None)
        if same is None:
            same = {}
            whole.append(same)
        _merge(same, value)


def _without_index(value: Any) -> Any:
    """Give whole objects without the index that their deltas are told apart by."""
    if isinstance(value, dict):
        return {key: _without_index(item) for key, item in value.items() if key != "index"}
    return [_without_index(item) for item in value] if isinstance(value, list) else value

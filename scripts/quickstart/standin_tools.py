"""Call a tool as the stand-in: the one that a request insists on, with arguments of the kinds it names."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

EXAMPLES: Json = {
    "string": "stand-in",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [],
    "null": None,
}


@dataclass(frozen=True, slots=True)
class Call:
    """Holds a call of a function."""

    name: str
    arguments: str
    id: str = field(default_factory=lambda: f"call_{uuid.uuid4().hex[:24]}")

    @property
    def words(self) -> int:
        return 1 + len(self.arguments.split())

    def in_chat(self) -> Json:
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }

    def in_response(self, *, whole: bool = True) -> Json:
        return {
            "id": f"fc_{self.id}",
            "type": "function_call",
            "status": "completed" if whole else "in_progress",
            "call_id": self.id,
            "name": self.name,
            "arguments": self.arguments if whole else "",
        }


def insisted_call(request: Json) -> Call | None:
    """Return the call that `tool_choice` insists on; None where it leaves that to the model."""
    functions = [found for tool in request.get("tools") or () if (found := _function(tool))]
    choice = request.get("tool_choice")
    if isinstance(choice, dict):
        named = _function(choice)
        functions = [one for one in functions if named and one.get("name") == named.get("name")]
    elif choice != "required":
        return None
    if not functions:
        return None
    arguments = _example(functions[0].get("parameters") or {"type": "object"})
    return Call(str(functions[0].get("name")), json.dumps(arguments))


def response_events(call: Call) -> Iterator[Json]:
    """Yield the events of a call within a streamed response."""
    place = {"item_id": f"fc_{call.id}", "output_index": 0}
    yield {"type": "response.output_item.added", "output_index": 0, "item": call.in_response(whole=False)}
    yield {"type": "response.function_call_arguments.delta", **place, "delta": call.arguments}
    yield {
        "type": "response.function_call_arguments.done",
        **place,
        "name": call.name,
        "arguments": call.arguments,
    }
    yield {"type": "response.output_item.done", "output_index": 0, "item": call.in_response()}


def _function(tool: Any) -> Json | None:
    """Return a function, as chat nests it or as Responses does not."""
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return None
    nested = tool.get("function")
    return nested if isinstance(nested, dict) else tool


def _example(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return EXAMPLES["string"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {name: _example(each) for name, each in (schema.get("properties") or {}).items()}
    return EXAMPLES.get(kind[0] if isinstance(kind, list) and kind else str(kind), EXAMPLES["string"])

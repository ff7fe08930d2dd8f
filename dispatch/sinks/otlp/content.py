"""Write what was asked and answered as the event `gen_ai.client.inference.operation.details`, on request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.proto.logs.v1.logs_pb2 import SEVERITY_NUMBER_INFO, LogRecord

from dispatch.message import encode
from dispatch.sinks.calls import Call, mapping
from dispatch.sinks.otlp.attributes import common, pairs
from dispatch.sinks.otlp.spans import nanoseconds, span_id, trace_id

NAME = "gen_ai.client.inference.operation.details"


def details(call: Call) -> LogRecord | None:
    """Give the event of a call; None where nothing was kept of it."""
    asked, answered = list(_asked(mapping(call.request))), list(_answered(mapping(call.response)))
    if not asked and not answered:
        return None
    values = common(call) | {
        "gen_ai.response.id": call.event.response_id,
        "gen_ai.system_instructions": _text(mapping(call.request).get("instructions")),
        "gen_ai.input.messages": _text(asked),
        "gen_ai.output.messages": _text(answered),
        "gen_ai.tool.definitions": _text(mapping(call.request).get("tools")),
    }
    return LogRecord(
        time_unix_nano=nanoseconds(call.end),
        observed_time_unix_nano=nanoseconds(call.end),
        severity_number=SEVERITY_NUMBER_INFO,
        event_name=NAME,
        trace_id=trace_id(call),
        span_id=span_id(call),
        attributes=pairs(values),
    )


def _text(value: Any) -> str | None:
    """Write structured values as JSON in an attribute.

    It is the conventions' fallback, which every backend stores.
    """
    return encode(value) if value else None


def _asked(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    found = body.get("messages", body.get("input", body.get("prompt")))
    if isinstance(found, str):
        yield {"role": "user", "parts": list(_parts(found))}
    for entry in found if isinstance(found, list) else []:
        yield _message(entry, "user")


def _answered(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    choices = body.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        found = mapping(choice)
        shown = _message(found.get("message") or {"content": found.get("text")}, "assistant")
        yield {**shown, "finish_reason": found.get("finish_reason")}
    output = body.get("output")
    for item in output if isinstance(output, list) else []:
        yield _message(item, "assistant")


def _message(entry: Any, role: str) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        return {"role": role, "parts": list(_parts(entry))}
    parts = list(_parts(entry.get("content")))
    for tool in entry.get("tool_calls") or []:
        function = mapping(mapping(tool).get("function"))
        parts.append(
            {
                "type": "tool_call",
                "id": mapping(tool).get("id"),
                "name": function.get("name"),
                "arguments": function.get("arguments"),
            }
        )
    if not parts and entry.get("type") not in (None, "message"):
        parts.append(dict(entry))  # a tool's call or output, reasoning ...: as the API has it
    return {"role": entry.get("role") or role, "parts": parts}


def _parts(content: Any) -> Iterator[dict[str, Any]]:
    if content is None:
        return
    for part in content if isinstance(content, list) else [content]:
        text = part if isinstance(part, str) else mapping(part).get("text")
        if isinstance(text, str):
            yield {"type": "text", "content": text}
        else:
            yield dict(part) if isinstance(part, Mapping) else {"type": "data", "content": part}

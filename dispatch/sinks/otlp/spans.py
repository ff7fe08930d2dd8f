"""Write one span for each call, with the call's own start and end."""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from dispatch.sinks.calls import Call, mapping, whole
from dispatch.sinks.otlp.attributes import clean, common, operation, pairs

PARAMETERS = {
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
}
"""Read from the request's body, so there with content only."""
DOUBLES = frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty"})


def trace_id(call: Call) -> bytes:
    """Give the client's trace, else the event's UUID itself, so that a trace can be found by it."""
    if (parent := _parent(call)) is not None:
        return parent[0]
    try:
        return uuid.UUID(call.id).bytes
    except ValueError:
        return hashlib.sha256(call.id.encode("utf-8", "replace")).digest()[:16]


def _parent(call: Call) -> tuple[bytes, bytes] | None:
    """Return trace and span of the client that called (W3C Trace Context); None where it told none."""
    try:
        _, trace, span, *_ = str(call.event.traceparent).split("-")
        return bytes.fromhex(trace), bytes.fromhex(span)
    except ValueError:
        return None


def span_id(call: Call) -> bytes:
    """Give the span's id, always the same of one event."""
    return hashlib.sha256(b"span" + call.id.encode("utf-8", "replace")).digest()[:8]


def nanoseconds(moment: datetime) -> int:
    """Give the nanoseconds since 1970."""
    return round(moment.timestamp() * 1000) * 1_000_000


def span(call: Call) -> Span:
    """Give the span of a call."""
    values = attributes(call)
    error = values.get("error.type")
    model = values.get("gen_ai.request.model")
    made = Span(
        trace_id=trace_id(call),
        span_id=span_id(call),
        parent_span_id=parent[1] if (parent := _parent(call)) is not None else b"",
        name=clean(f"{operation(call)} {model}" if model else operation(call)),
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=nanoseconds(call.start),
        end_time_unix_nano=nanoseconds(call.end),
        attributes=pairs(values),
    )
    if error is not None:
        code = call.error.code
        made.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=clean(str(code or error))))
    return made


def attributes(call: Call) -> dict[str, Any]:
    """Name by the conventions for inference spans; what they have no name for begins with `llmproxy.`."""
    event, usage = call.event, call.usage
    values = common(call)
    first = event.time_to_first_token_ms
    values |= {
        "server.port": 443 if event.host else None,
        "gen_ai.conversation.id": event.conversation_id,
        "gen_ai.request.stream": event.stream,
        "gen_ai.response.id": event.response_id,
        "gen_ai.response.finish_reasons": event.finish_reasons or None,
        "gen_ai.response.time_to_first_chunk": None if first is None else first / 1000,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": whole(usage.input_tokens_details.get("cached_tokens")),
        "gen_ai.usage.reasoning.output_tokens": whole(usage.output_tokens_details.get("reasoning_tokens")),
        "openai.request.service_tier": event.service_tier_requested or None,
        "openai.response.service_tier": event.service_tier,
        "openai.api.type": {"chat": "chat_completions", "responses": "responses"}.get(event.endpoint or ""),
        "http.request.method": event.method,
        "http.response.status_code": event.status,
        "url.path": event.path,
        "user.id": call.user_id,
    }
    values |= {
        "llmproxy.event_id": call.id,
        "llmproxy.outcome": event.outcome,
        "llmproxy.project_id": event.project_id,
        "llmproxy.project_name": event.project_name,
        "llmproxy.token_id": event.token_id,
        "llmproxy.cost_usd": _number(call.usd),
        "llmproxy.usage.source": call.usage_source,
    }
    values |= {f"llmproxy.token_metadata.{name}": str(value) for name, value in event.token_metadata.items()}
    values |= {f"llmproxy.request_metadata.{name}": text for name, text in event.request_metadata.items()}
    for name, value in mapping(call.request).items():
        if name in PARAMETERS and isinstance(value, int | float) and not isinstance(value, bool):
            values[PARAMETERS[name]] = float(value) if name in DOUBLES else value
    return values


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None

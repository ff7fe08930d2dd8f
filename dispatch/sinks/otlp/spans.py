"""One span for each call, with the call's own start and end."""

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
    """The event's UUID itself, so that a trace can be found by it."""
    try:
        return uuid.UUID(call.id).bytes
    except ValueError:
        return hashlib.sha256(call.id.encode("utf-8", "replace")).digest()[:16]


def span_id(call: Call) -> bytes:
    """Always the same of one event."""
    return hashlib.sha256(b"span" + call.id.encode("utf-8", "replace")).digest()[:8]


def nanoseconds(moment: datetime) -> int:
    """Since 1970."""
    return round(moment.timestamp() * 1000) * 1_000_000


def span(call: Call) -> Span:
    """The span of a call."""
    values = attributes(call)
    error = values.get("error.type")
    model = values.get("gen_ai.request.model")
    made = Span(
        trace_id=trace_id(call),
        span_id=span_id(call),
        name=clean(f"{operation(call)} {model}" if model else operation(call)),
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=nanoseconds(call.start),
        end_time_unix_nano=nanoseconds(call.end),
        attributes=pairs(values),
    )
    if error is not None:
        code = mapping(call.shown.get("error")).get("code")
        made.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=clean(str(code or error))))
    return made


def attributes(call: Call) -> dict[str, Any]:
    """By the conventions for inference spans; what they have no name for begins with `llmproxy.`."""
    shown = call.shown
    values = common(call)
    first = whole(shown.get("time_to_first_token_ms"))
    values |= {
        "server.port": 443 if shown.get("host") else None,
        "gen_ai.conversation.id": shown.get("conversation_id"),
        "gen_ai.request.stream": shown.get("stream"),
        "gen_ai.response.id": shown.get("response_id"),
        "gen_ai.response.finish_reasons": shown.get("finish_reasons") or None,
        "gen_ai.response.time_to_first_chunk": None if first is None else first / 1000,
        "gen_ai.usage.input_tokens": call.tokens("input_tokens"),
        "gen_ai.usage.output_tokens": call.tokens("output_tokens"),
        "gen_ai.usage.cache_read.input_tokens": whole(call.details("input").get("cached_tokens")),
        "gen_ai.usage.reasoning.output_tokens": whole(call.details("output").get("reasoning_tokens")),
        "openai.response.service_tier": shown.get("service_tier"),
        "openai.api.type": {"chat": "chat_completions", "responses": "responses"}.get(
            str(shown.get("endpoint"))
        ),
        "http.request.method": shown.get("method"),
        "http.response.status_code": whole(shown.get("status")),
        "url.path": shown.get("path"),
        "user.id": call.user_id,
    }
    cost = mapping(shown.get("cost")).get("usd")
    values |= {
        "llmproxy.event_id": call.id,
        "llmproxy.outcome": shown.get("outcome"),
        "llmproxy.project_id": shown.get("project_id"),
        "llmproxy.project_name": shown.get("project_name"),
        "llmproxy.token_id": shown.get("token_id"),
        "llmproxy.cost_usd": _number(cost),
        "llmproxy.usage.source": mapping(shown.get("usage")).get("source"),
    }
    for field in ("token_metadata", "request_metadata"):
        for name, value in mapping(shown.get(field)).items():
            values[f"llmproxy.{field}.{name}"] = str(value)
    for name, value in mapping(call.request).items():
        if name in PARAMETERS and isinstance(value, int | float) and not isinstance(value, bool):
            values[PARAMETERS[name]] = float(value) if name in DOUBLES else value
    return values


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None

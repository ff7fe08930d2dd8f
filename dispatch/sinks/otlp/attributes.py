"""Name by the GenAI semantic conventions, and write attributes as OTLP has them.

Source: open-telemetry/semantic-conventions-genai, status Development. The names are kept here as texts: those
in Python's `opentelemetry-semantic-conventions` are marked deprecated since the conventions moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from dispatch.sinks.calls import Call
from store.core.codes import Outcome

OPERATIONS = {
    "chat": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
"""`gen_ai.operation.name` by endpoint; where the conventions have none, the endpoint itself."""


def operation(call: Call) -> str:
    endpoint = call.event.endpoint or "other"
    return OPERATIONS.get(endpoint, endpoint)


def error_type(call: Call) -> str | None:
    """Give one of a few different values: the status as text, or how it ended."""
    if not call.failed:
        return None
    status, outcome = call.event.status, call.event.outcome
    if outcome in (Outcome.HTTP_ERROR, Outcome.REFUSED) and status is not None and status >= 400:
        return str(status)
    return str(outcome)


def common(call: Call) -> dict[str, Any]:
    """Give what spans, metrics and events have alike. Nothing with many values: no user, token or id."""
    host = call.event.host
    return {
        "gen_ai.operation.name": operation(call),
        "gen_ai.provider.name": "azure.ai.openai" if str(host).endswith(".azure.com") else "openai",
        "gen_ai.request.model": call.event.model_requested or call.event.model,
        "gen_ai.response.model": call.event.model,
        "server.address": host,
        "error.type": error_type(call),
    }


def pairs(values: Mapping[str, Any]) -> list[KeyValue]:
    """Give attributes, without those that are not known."""
    return [KeyValue(key=name, value=_value(value)) for name, value in values.items() if value is not None]


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        # Beyond 64 bits there is no integer.
        return AnyValue(int_value=value) if -(2**63) <= value < 2**63 else AnyValue(double_value=float(value))
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list | tuple):
        return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
    return AnyValue(string_value=clean(str(value)))


def clean(text: str) -> str:
    """Replace halves of surrogate pairs, which have no UTF-8."""
    return text.encode("utf-8", "replace").decode()

"""From a record of the spool to the message that leaves the machine.

An allow-list: what is not named here stays in the spool. Without `include_content` a message holds no text
of a prompt or an answer, no header, and no error text (which may quote either).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

USAGE_TYPE = "llm_proxy_usage"

FIELDS = (
    "schema",
    "event_id",
    "writer",
    "seq",
    "duration_ms",
    "time_to_first_byte_ms",
    "time_to_first_token_ms",
    "outcome",
    "status",
    "request_id",
    "upstream_request_id",
    "method",
    "host",
    "path",
    "endpoint",
    "stream",
    "include_usage",
    "api_version",
    "project_id",
    "project_name",
    "token_id",
    "token_metadata",
    "user",
    "model",
    "model_requested",
    "model_mismatch",
    "service_tier",
    "finish_reasons",
    "response_id",
    "previous_response_id",
    "conversation_id",
    "usage",
    "usage_missing",
    "usage_missing_code",
    "hosted_tools",
    "cost",
    "rate_limit",
    "truncated",
    "dropped",
)
CONTENT = ("request", "response")
WRITER_FIELDS = ("event_id", "writer", "last_seq")


def message(record: Mapping[str, Any], *, include_content: bool = False) -> dict[str, Any]:
    """The message of a record: the flat shape of a usage event, or of a writer's closing record."""
    kind = record.get("type")
    shown: dict[str, Any] = {"type": kind, "timestamp": record.get("timestamp")}
    if kind != USAGE_TYPE:
        return shown | {name: record[name] for name in WRITER_FIELDS if name in record}
    shown |= {"run_id": record.get("event_id"), "event": "finish"}
    shown |= {name: record[name] for name in FIELDS if name in record}
    shown["error"] = _error(record.get("error"), include_content)
    shown["client"] = _client(record.get("client"), include_content)
    if include_content:
        shown |= {name: record[name] for name in CONTENT if name in record}
    return shown


def without_content(shown: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """The same message with its bodies left out, and a word on that."""
    kept = {name: value for name, value in shown.items() if name not in CONTENT}
    kept["truncated"] = [*(shown.get("truncated") or []), reason]
    return kept


def encode(shown: Any) -> str:
    """Compact JSON. Half a surrogate pair, which UTF-8 does not know, is written as an escape."""
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)


def _error(error: Any, include_content: bool) -> dict[str, Any] | None:
    if not isinstance(error, Mapping):
        return None
    names = ("type", "code", "message") if include_content else ("type", "code")
    return {name: error.get(name) for name in names}


def _client(client: Any, include_content: bool) -> dict[str, Any] | None:
    if not isinstance(client, Mapping):
        return None
    names = ("ip", "sdk", "user_agent") if include_content else ("ip", "sdk")
    return {name: client.get(name) for name in names}

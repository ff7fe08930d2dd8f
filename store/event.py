"""The shape of an event (schema 1, see docs/event.md): every field, and what stands for the unknown."""

from __future__ import annotations

from typing import Any

SCHEMA = 1
USAGE_TYPE = "llm_proxy_usage"
"""Only records of this type are calls."""
WRITER_TYPE = "llm_proxy_writer"
DROPPED_TYPE = "llm_proxy_dropped"
"""How many calls have no event, because the spool was full."""
SESSION_TYPE = "llm_proxy_session"
"""A WebSocket session that is over; its answers are calls of their own."""
BUDGET_TYPE = "llm_proxy_budget"
"""A budget is used up by half, by 80 %, or whole."""
AUDIT_TYPE = "llm_proxy_audit"
"""The head of the store's audit log."""
OPEN_TYPE = "llm_proxy_open"
"""A call that goes upstream; kept in the journal, never in a segment."""

Event = dict[str, Any]


def blank_event() -> Event:
    """An event of which nothing is known yet. The order is that of the lines in the spool."""
    return {
        "schema": SCHEMA,
        "type": USAGE_TYPE,
        "event_id": None,
        "timestamp": None,
        "duration_ms": None,
        "time_to_first_byte_ms": None,
        "outcome": None,
        "drained": False,
        "status": None,
        "error": None,
        "request_id": None,
        "method": None,
        "host": None,
        "path": None,
        "endpoint": None,
        "include_usage": None,
        "time_to_first_token_ms": None,
        "upstream_request_id": None,
        "stream": None,
        "api_version": None,
        "user": None,
        "user_claims": {},
        "model": None,
        "model_requested": None,
        "model_mismatch": None,
        "service_tier": None,
        "finish_reasons": [],
        "response_id": None,
        "previous_response_id": None,
        "conversation_id": None,
        "hosted_tools": {},
        "rate_limit": {},
        "truncated": [],
        "dropped": {},
        "client": {"ip": None, "user_agent": None, "sdk": None},
        "project_id": None,
        "project_name": None,
        "token_id": None,
        "token_metadata": {},
        "request_metadata": {},
        "usage": None,
        "usage_missing": None,
        "usage_missing_code": None,
        "usage_of": None,
        "cost": None,
    }

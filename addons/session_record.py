"""The record of a WebSocket session that has ended: when, why, and the totals of its answers."""

from __future__ import annotations

from datetime import UTC

from addons.event import attribution, scrub
from addons.exchange import Exchange, SessionEnd
from store.event import SCHEMA, SESSION_TYPE, Event
from store.models import rfc3339


def session_record(exchange: Exchange, end: SessionEnd) -> Event:
    """Of its own type, so that no sum over calls counts anything twice."""
    error = {"type": exchange.outcome, "code": end.error, "message": None} if end.error else None
    record = {
        "schema": SCHEMA,
        "type": SESSION_TYPE,
        "event_id": exchange.id,
        "timestamp": rfc3339(exchange.started_at.astimezone(UTC)),
        "duration_ms": round((exchange.ended - exchange.started) * 1000),
        "outcome": exchange.outcome,
        "error": error,
        "status": exchange.status,
        "request_id": exchange.id,
        "upstream_request_id": exchange.response_header("x-request-id"),
        "host": exchange.host,
        "path": exchange.url.partition("?")[0],
        "endpoint": exchange.endpoint,
        "model": end.model,
        **attribution(exchange.grant),
        "request_metadata": exchange.request_metadata.pairs,
        "close_code": end.close_code,
        "closed_by": end.closed_by,
        "client_frames": end.client_frames,
        "server_frames": end.server_frames,
        "refused_frames": end.refused_frames,
        "responses": end.responses,
        "transcriptions": end.transcriptions,
        "unreported": end.unreported,
        "totals": end.totals,
    }
    return scrub(record, exchange)

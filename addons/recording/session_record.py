"""Make the record of a WebSocket session that has ended: when, why, and the totals of its answers."""

from __future__ import annotations

from addons.recording.event_builder import attribution
from addons.recording.exchange import Exchange, SessionEnd
from store.core.codes import Outcome
from store.core.event import Error, SessionRecord
from store.core.times import rfc3339


def session_record(exchange: Exchange, end: SessionEnd) -> SessionRecord:
    """Make the record, which is of its own type, so that no sum over calls counts anything twice."""
    return SessionRecord(
        event_id=exchange.id,
        timestamp=rfc3339(exchange.started_at),
        duration_ms=round((exchange.ended - exchange.started) * 1000),
        outcome=Outcome(exchange.outcome),
        error=Error(exchange.outcome, end.error) if end.error else None,
        status=exchange.status,
        request_id=exchange.id,
        upstream_request_id=exchange.response_header("x-request-id"),
        host=exchange.host,
        path=exchange.url.partition("?")[0],
        endpoint=exchange.endpoint,
        model=end.model,
        **attribution(exchange.grant),
        request_metadata=exchange.request_metadata.pairs,
        close_code=end.close_code,
        closed_by=end.closed_by,
        client_frames=end.client_frames,
        server_frames=end.server_frames,
        refused_frames=end.refused_frames,
        responses=end.responses,
        transcriptions=end.transcriptions,
        unreported=end.unreported,
        totals=end.totals,
    )

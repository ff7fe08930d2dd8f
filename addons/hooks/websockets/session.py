"""Keep a WebSocket session: its answers, its end, and what is recorded of both."""

from __future__ import annotations

import json
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from mitmproxy import http, websocket
from uuid_utils import uuid7

from addons.flow.call import Call
from addons.flow.capture import Body
from addons.flow.errors import STOPPING, Refusal
from addons.mitm import internals as mitm
from addons.openai.realtime.client_events import read_head
from addons.openai.realtime.realtime import Turn, Turns, headers_of, url_of, without_sound
from addons.openai.usage import usage as usages
from addons.recording.exchange import Exchange, SessionEnd
from addons.services import Services
from store.tokens.models import Grant

TOTALS = ("input_tokens", "output_tokens", "total_tokens", "seconds")


@dataclass(slots=True)
class Session:
    """Holds one WebSocket of a call."""

    call: Call
    turns: Turns
    closing: Refusal | None = None
    """It says why the proxy ends it."""
    end: SessionEnd = field(default_factory=SessionEnd)
    looking: Future[Grant | None] | None = None
    """It is what the store on a server is going to say of its token."""
    reserved: set[str] = field(default_factory=set)
    """Ids of answers for which something is held, and that are not recorded yet."""
    unreadable: int = 0
    """Times in a row that the store could not be read."""

    @property
    def flow(self) -> http.HTTPFlow:
        return self.call.flow


open_sessions: dict[str, Session] = {}
"""By flow id. Module state, so that a reload of the script does not forget them."""


def close(session: Session, why: Refusal, code: int) -> None:
    """End a session: an error event, which clients understand, then a close code and its reason."""
    if session.closing is not None:
        return
    session.closing = why
    mitm.send_to_client(session.flow, error_event(why))
    mitm.end_websocket(session.flow, code, f"{why.code}: {why.message}"[:120])


def refuse(session: Session, why: Refusal, data: bytes) -> None:
    """Tell the client that its event `data` was not passed on; the session lives on."""
    session.end.refused_frames += 1
    mitm.send_to_client(session.flow, error_event(why, data))


def error_event(why: Refusal, cause: bytes = b"") -> str:
    """Give the API's ``error`` event. `cause` is the client's event that led to it.

    Realtime names that by its `event_id`, Responses by the lane that it was for.
    """
    head = read_head(cause)
    error: dict[str, Any] = {"type": why.type, "message": why.message, "param": why.param}
    error["code"] = None if why.unnamed else why.code
    error["event_id"] = head.get("event_id") if isinstance(head.get("event_id"), str) else None
    if why.retry_after is not None:
        error["headers"] = {"retry-after": str(why.retry_after)}
    event = {"type": "error", "event_id": f"event_{token_hex(8)}", "status": why.status, "error": error}
    if isinstance(lane := head.get("stream_id"), str):
        event["stream_id"] = lane
    return json.dumps(event)


def record(session: Session, turn: Turn, outcome: str, services: Services) -> None:
    """Hand an answer that is over to the worker, and add it to the session's totals."""
    exchange = _exchange(session, turn, outcome)
    exchange.error_code = session.closing.code if session.closing and not turn.whole else None
    session.reserved.discard(exchange.id)
    services.ledger.ended(exchange.id)
    services.worker.put(exchange)
    end = session.end
    if turn.transcription:
        end.transcriptions += 1
    else:
        end.responses += 1
    usage = usages.read(turn.usage)
    end.unreported += usage is None
    for name in TOTALS:
        if (figure := getattr(usage, name, None)) is not None:
            end.totals[name] = end.totals.get(name, 0) + figure


def record_refused(session: Session, turn: Turn, why: Refusal, services: Services) -> None:
    """Record a request within a session as a call, also where it was not passed on."""
    exchange = _exchange(session, turn, "refused")
    response = why.response()
    content = response.raw_content or b""
    exchange.status, exchange.response_headers = why.status, list(response.headers.items(multi=True))
    exchange.response_body = Body(content, size=len(content))
    exchange.error_code, exchange.sent = why.code, False
    services.worker.put(exchange)


def _exchange(session: Session, turn: Turn, outcome: str) -> Exchange:
    call, body = session.call, turn.answer()[1]
    ended = turn.ended or time.time()
    started = turn.started or ended
    return Exchange(
        id=turn.event_id or str(uuid7()),
        request_id=call.id,
        method=call.method,
        host=call.host,
        url=url_of(call.url, turn),
        endpoint=call.endpoint,
        started_at=datetime.fromtimestamp(started, UTC),
        started=started,
        ended=ended,
        outcome=outcome,
        request_headers=[*call.headers, ("content-type", "application/json")],
        request_body=Body(turn.asked, size=len(turn.asked)),
        status=101,
        response_headers=headers_of(turn),
        response_body=Body(body, size=len(body)),
        first_byte_at=turn.first,
        sent=True,
        client_address=call.client_address,
        grant=call.grant,
        request_metadata=call.request_metadata,
        secrets=call.secrets,
        provider=call.provider,
        models=call.models,
    )


def finish(flow: http.HTTPFlow, outcome: str, services: Services) -> tuple[str, SessionEnd] | None:
    """Record the answers that the end of the session broke off. Returns its own outcome and totals.

    None where the call never became a session.
    """
    session = open_sessions.pop(flow.id, None)
    if session is None or flow.websocket is None:
        return None
    code, by_client = flow.websocket.close_code, flow.websocket.closed_by_client
    broken = "client_aborted" if by_client else "upstream_aborted"
    if outcome == "ok" and session.closing:
        outcome = "shutdown" if session.closing is STOPPING else "refused"
        broken, by = "shutdown", "proxy"
    elif outcome == "ok":
        by = "client" if by_client else "server"
        outcome = broken if code in (None, 1006) else "ok"
    else:
        broken, by = outcome, "proxy"
    for turn in session.turns.rest():
        record(session, turn, "ok" if turn.whole else broken, services)
    for turn_id in session.reserved:  # asked for, and come to nothing
        services.ledger.release(turn_id)
    _hide_sound(flow.websocket)
    end = session.end
    end.close_code, end.closed_by, end.model = code, by, session.turns.model
    end.error = session.closing.code if session.closing else None
    return outcome, end


def _hide_sound(session: websocket.WebSocketData) -> None:
    """Hide the sound of the last message: it stays in the flow, which may be shown and saved."""
    for message in session.messages:
        if not message.injected:
            message.content = without_sound(message.content)

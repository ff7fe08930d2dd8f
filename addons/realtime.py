"""Sessions over a WebSocket, live: checks each event of the client, records each answer, ends sessions.

One handshake may cost a thousand answers, over an hour. So the token is looked at again four times a second,
the model in each of the client's events, and each answer is written down when it begins and has an event when
it is over. The session itself leaves one record more, of its own type, which no sum counts.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from mitmproxy import http, websocket
from uuid_utils import uuid7

from addons import credential, marks, mitm, model_gate, refusal, seal
from addons.calls import Call, open_calls
from addons.capture import Body
from addons.exchange import Exchange, SessionEnd
from addons.openai import usage as usages
from addons.openai.model_of import is_allowed
from addons.openai.realtime import ASKS, Frame, Turn, Turns, headers_of, models_named, read_head, url_of
from addons.opening import opening
from addons.refusal import Refusal
from addons.runtime import Runtime, Services
from store.errors import StoreUnavailable
from store.lookup import Reason, check
from store.models import rfc3339

logger = logging.getLogger(__name__)

WATCH_SECONDS = 0.25
PATIENCE = 20
"""Looks at a store that can't be read, in a row, after which its sessions end."""
POLICY_VIOLATION, INTERNAL_ERROR = 1008, 1011
"""Close codes (RFC 6455, section 7.4.1)."""
TOTALS = ("input_tokens", "output_tokens", "total_tokens", "seconds")


@dataclass(slots=True)
class Session:
    """One WebSocket of a call."""

    call: Call
    turns: Turns
    closing: Refusal | None = None
    """Why the proxy ends it."""
    end: SessionEnd = field(default_factory=SessionEnd)
    unreadable: int = 0
    """Times in a row that the store could not be read."""


open_sessions: dict[str, Session] = {}
"""By flow id. Module state, so that a reload of the script does not forget them."""

Hook = Callable[[Any, http.HTTPFlow], None]


def drop_when_failing(hook: Hook) -> Hook:
    """Drop the message and end the session when the decorated hook raises: nothing unchecked passes."""

    @functools.wraps(hook)
    def guarded(self: Any, flow: http.HTTPFlow) -> None:
        try:
            hook(self, flow)
        except Exception:
            logger.exception("llmproxy: %s failed; the session is ended", hook.__qualname__)
            if flow.websocket and flow.websocket.messages:
                flow.websocket.messages[-1].drop()
            session = open_sessions.get(flow.id)
            if session is None:
                mitm.end_websocket(flow, INTERNAL_ERROR, refusal.INTERNAL.code)
            else:
                close(session, refusal.INTERNAL, INTERNAL_ERROR)

    return guarded


class Realtime:
    """Behind the gate, which has judged the handshake."""

    name = "llmproxy-realtime"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._watching: asyncio.Task[None] | None = None
        self._claims: set[asyncio.Task[None]] = set()

    def running(self) -> None:
        if not self.runtime.refused:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    def done(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """A server may only choose what was offered; what looks like a key is not passed on in any case."""
        if flow.id in open_calls and flow.response and flow.response.status_code == 101:
            credential.remove_subprotocols(flow.response.headers)

    @drop_when_failing
    def websocket_start(self, flow: http.HTTPFlow) -> None:
        call = open_calls.get(flow.id)
        if call is not None:
            sequential = call.endpoint != "realtime"
            open_sessions[flow.id] = Session(call, Turns(sequential=sequential))

    @drop_when_failing
    def websocket_message(self, flow: http.HTTPFlow) -> None:
        if marks.CALL not in flow.metadata or flow.websocket is None:
            return
        message = flow.websocket.messages[-1]
        # mitmproxy would keep every message until the end. (None at all breaks its own log.)
        del flow.websocket.messages[:-1]
        if message.injected and not message.from_client:
            if not message.content:
                message.drop()  # it carried a Close
            return
        session = open_sessions.get(flow.id)
        if session is None or (session.closing and message.from_client):
            message.drop()
            if session is None:
                mitm.end_websocket(flow, INTERNAL_ERROR, refusal.INTERNAL.code)
            return
        if message.from_client:
            session.end.client_frames += 1
            if why_not := judge(session, message.content):
                session.end.refused_frames += 1
                message.drop()
                mitm.send_to_client(flow, error_event(why_not, read_head(message.content).get("event_id")))
                return
            seal.checked.add(message)
        else:
            session.end.server_frames += 1
            _hide_secret(message)
        frame = Frame(message.from_client, message.content, time.time())
        for turn in session.turns.take(frame):
            self._note(session, turn)

    def _note(self, session: Session, turn: Turn) -> None:
        """An answer begins, or is over."""
        services = self.runtime.services
        if services is None:
            return close(session, refusal.SEALED, INTERNAL_ERROR)
        begins = not turn.event_id
        if begins:
            self._claim(session, services)
            self._open(session, turn, services)
        if turn.over:
            record(session, turn, "ok", services)
        return None

    def _open(self, session: Session, turn: Turn, services: Services) -> None:
        """Write the answer down: whatever happens to the proxy from now on, it leaves an event."""
        turn.event_id = str(uuid7())
        now = rfc3339(datetime.now(UTC))
        model = turn.model or session.turns.model
        known = {"event_id": turn.event_id, "timestamp": now, "response_id": turn.id, "closes_as": None}
        if model:
            known["model"] = model
        try:
            services.journal.opened({**opening(session.call), **known})
        except OSError:
            close(session, refusal.SPOOL_UNAVAILABLE, INTERNAL_ERROR)

    def _claim(self, session: Session, services: Services) -> None:
        """Take a call off the token's quota, if it has one."""
        grant = session.call.grant
        if grant is not None and grant.token.max_requests is not None:
            claim = asyncio.wrap_future(services.quota.claim(grant.token.id))
            task = asyncio.get_running_loop().create_task(self._await_claim(session, claim))
            self._claims.add(task)
            task.add_done_callback(self._claims.discard)

    async def _await_claim(self, session: Session, claim: asyncio.Future[bool]) -> None:
        try:
            if not await claim:
                close(session, refusal.BY_REASON[Reason.QUOTA_EXHAUSTED], POLICY_VIOLATION)
        except StoreUnavailable:
            close(session, refusal.STORE_UNAVAILABLE, INTERNAL_ERROR)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for session in list(open_sessions.values()):
                try:
                    self._look_at(session)
                except Exception:
                    logger.exception("llmproxy: a session's token could not be checked; the session is ended")
                    close(session, refusal.INTERNAL, INTERNAL_ERROR)

    def _look_at(self, session: Session) -> None:
        """End a session whose token, project or record no longer allows it."""
        services = self.runtime.services
        if services is None or session.closing:
            return None
        if not services.worker.healthy or services.worker.refuses_calls:
            return close(session, refusal.SPOOL_UNAVAILABLE, INTERNAL_ERROR)
        try:
            grant = services.lookup.find(session.call.secrets[0].reveal())
        except StoreUnavailable:
            session.unreadable += 1
            if session.unreadable >= PATIENCE:
                close(session, refusal.STORE_UNAVAILABLE, INTERNAL_ERROR)
            return None
        session.unreadable = 0
        reason = Reason.UNKNOWN if grant is None else check(grant, datetime.now(UTC))
        if reason is not None:
            close(session, refusal.BY_REASON[reason], POLICY_VIOLATION)
        return None


def judge(session: Session, data: bytes) -> Refusal | None:
    """Why a client's event may not pass: a model that is not allowed, anywhere in it."""
    call = session.call
    if tuple(call.models) == model_gate.ALL:
        return None
    named = list(models_named(data))
    for asked in named:
        if asked.unknown is not None:
            return refusal.model_unknown(asked.unknown)
        known = call.azure.model(asked.model) if call.azure and asked.model else None
        if asked.model is not None and not is_allowed(known or asked.model, call.models):
            return refusal.model_refused(asked.model)
    if not named and call.endpoint != "realtime" and read_head(data).get("type") == ASKS:
        return refusal.model_unknown("the event names no model")
    return None


def close(session: Session, why: Refusal, code: int) -> None:
    """End a session: an error event, which clients understand, then a close code and its reason."""
    if session.closing is not None:
        return
    session.closing = why
    flow = session.call.flow
    mitm.send_to_client(flow, error_event(why))
    mitm.end_websocket(flow, code, f"{why.code}: {why.message}"[:120])


def error_event(why: Refusal, cause: object = None) -> str:
    """The API's ``error`` event. `cause` is the `event_id` of the client's event that led to it."""
    error = {"type": why.type, "code": why.code, "message": why.message, "param": why.param}
    error["event_id"] = cause if isinstance(cause, str) else None
    return json.dumps(
        {"type": "error", "event_id": f"event_{token_hex(8)}", "status": why.status, "error": error}
    )


def _hide_secret(message: websocket.WebSocketMessage) -> None:
    """A session's own description may hold a secret that opens further sessions without the proxy."""
    if b'"client_secret"' not in message.content:
        return
    try:
        event = json.loads(message.content)
    except ValueError:
        return
    session = event.get("session") if isinstance(event, dict) else None
    if isinstance(session, dict) and session.get("client_secret") is not None:
        session["client_secret"] = None
        message.content = json.dumps(event).encode()


def record(session: Session, turn: Turn, outcome: str, services: Services) -> None:
    """Hand an answer that is over to the worker, and add it to the session's totals."""
    call, end = session.call, session.end
    body = turn.answer()[1]
    ended = turn.ended or time.time()
    started = turn.started or ended
    exchange = Exchange(
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
        error_code=session.closing.code if session.closing and not turn.whole else None,
        sent=True,
        client_address=call.client_address,
        grant=call.grant,
        secrets=call.secrets,
        azure=call.azure,
        models=call.models,
    )
    services.worker.put(exchange)
    if turn.transcription:
        end.transcriptions += 1
    else:
        end.responses += 1
    usage = usages.read(turn.usage)
    end.unreported += usage is None
    for name in TOTALS:
        if (figure := getattr(usage, name, None)) is not None:
            end.totals[name] = end.totals.get(name, 0) + figure


def finish(flow: http.HTTPFlow, outcome: str, services: Services) -> tuple[str, SessionEnd] | None:
    """The session is over: record the answers that it broke off. Returns its own outcome and totals.

    None where the call never became a session.
    """
    session = open_sessions.pop(flow.id, None)
    if session is None or flow.websocket is None:
        return None
    code, by_client = flow.websocket.close_code, flow.websocket.closed_by_client
    broken = "client_aborted" if by_client else "upstream_aborted"
    if outcome == "ok" and session.closing:
        outcome, broken, by = "refused", "shutdown", "proxy"
    elif outcome == "ok":
        by = "client" if by_client else "server"
        outcome = broken if code in (None, 1006) else "ok"
    else:
        broken, by = outcome, "proxy"
    for turn in session.turns.rest():
        record(session, turn, broken, services)
    end = session.end
    end.close_code, end.closed_by, end.model = code, by, session.turns.model
    end.error = session.closing.code if session.closing else None
    return outcome, end

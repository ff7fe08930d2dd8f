"""Check each event of a WebSocket's client as it comes, record each answer, and end sessions.

One handshake may cost a thousand answers, over an hour. So the token is looked at again four times a
second, each of the client's events is judged (:mod:`addons.hooks.websockets.checks`), and each answer is
written down when it begins, or, of Responses, before it is asked for, and has an event when it is over. The
session itself leaves one record more, of its own type, which no sum counts.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from mitmproxy import http, websocket
from uuid_utils import uuid7

from addons.checks import access
from addons.checks.limits import limit_errors
from addons.flow import credential, errors, final_guard, flow_metadata
from addons.flow.call import open_calls
from addons.flow.errors import Refusal
from addons.flow.stream_scrub import StreamScrub
from addons.hooks.journaling import opening
from addons.hooks.ownership import Ownership
from addons.hooks.websockets import checks as session_gate
from addons.hooks.websockets import objects as session_objects
from addons.hooks.websockets.session import Session, close, open_sessions, record, record_refused, refuse
from addons.mitm import internals as mitm
from addons.openai.realtime.client_events import ASKS, read_head
from addons.openai.realtime.realtime import Frame, Turn, Turns, asked_with
from addons.runtime import Runtime
from addons.services import Services
from store.core.errors import StoreUnavailable
from store.core.secret import Secret
from store.core.times import rfc3339
from store.ledger import ReservationDecision
from store.tokens.lookup import Reason, check
from store.tokens.models import Grant

logger = logging.getLogger(__name__)

WATCH_SECONDS = 0.25
PATIENCE = 20
"""Looks at a store that can't be read, in a row, after which its sessions end."""
POLICY_VIOLATION, INTERNAL_ERROR = 1008, 1011
"""Close codes (RFC 6455, section 7.4.1)."""

Hook = Callable[[Any, http.HTTPFlow], Awaitable[None]]


def drop_when_failing(hook: Hook) -> Hook:
    """Drop the message and end the session when the decorated hook raises: nothing unchecked passes."""

    @functools.wraps(hook)
    async def guarded(self: Any, flow: http.HTTPFlow) -> None:
        try:
            await hook(self, flow)
        except Exception:
            logger.exception("llmproxy: %s failed; the session is ended", hook.__qualname__)
            if flow.websocket and flow.websocket.messages:
                flow.websocket.messages[-1].drop()
            session = open_sessions.get(flow.id)
            if session is None:
                mitm.end_websocket(flow, INTERNAL_ERROR, errors.INTERNAL.code)
            else:
                close(session, errors.INTERNAL, INTERNAL_ERROR)

    return guarded


class Realtime:
    """Stands behind the gate, which has judged the handshake."""

    name = "llmproxy-realtime"

    def __init__(self, runtime: Runtime, ownership: Ownership) -> None:
        self.runtime = runtime
        self.ownership = ownership
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
        """Keep what looks like a key from the client. A server may only choose what was offered."""
        if flow.id in open_calls and flow.response and flow.response.status_code == 101:
            credential.remove_subprotocols(flow.response.headers)

    @drop_when_failing
    async def websocket_start(self, flow: http.HTTPFlow) -> None:
        call = open_calls.get(flow.id)
        if call is not None:
            open_sessions[flow.id] = Session(call, Turns(sequential=call.kind.sequential))

    @drop_when_failing
    async def websocket_message(self, flow: http.HTTPFlow) -> None:
        if flow_metadata.CALL not in flow.metadata or flow.websocket is None:
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
                mitm.end_websocket(flow, INTERNAL_ERROR, errors.INTERNAL.code)
        elif message.from_client:
            await self._from_client(session, message)
        else:
            session.end.server_frames += 1
            _hide_secret(message)
            _hide_known(message, session.call.secrets)
            for turn in session.turns.take(Frame(False, message.content, time.time())):
                self._note(session, turn)

    async def _from_client(self, session: Session, message: websocket.WebSocketMessage) -> None:
        """Pass an event on, or drop it and say why. Until this returns nothing else moves in the session."""
        session.end.client_frames += 1
        frame = Frame(True, message.content, time.time())
        if too_large := session_gate.judge_size(frame.data):
            message.drop()
            return refuse(session, too_large, b"")
        head = read_head(frame.data)
        services = self.runtime.services
        if services is None:
            message.drop()
            return close(session, errors.SEALED, INTERNAL_ERROR)
        why_not = (
            await session_gate.judge(session, frame.data)
            or await session_gate.limit_output(session, message)
            or await session_objects.judge(self.ownership, session, frame.data)
        )
        turn_id = str(uuid7())
        out_of_calls = why_not is None and await session_gate.claim(
            session, turn_id, head.get("type"), message.content, services, self.runtime.settings.prices
        )
        if why_not := why_not or out_of_calls or None:
            message.drop()
            if head.get("type") == ASKS:
                record_refused(session, asked_with(frame, head), why_not, services)
            refuse(session, why_not, frame.data)
            if out_of_calls and not session.turns.sequential and why_not.retry_after is None:
                # The server may begin to answer without being asked; only the end of the session ends that.
                close(session, why_not, POLICY_VIOLATION)
            return None
        for turn in session.turns.take(frame):
            turn.event_id, turn.counted = turn_id, True
            self._note(session, turn)
        if session.closing:
            message.drop()
        else:
            final_guard.checked.add(message)
        return None

    def _note(self, session: Session, turn: Turn) -> None:
        """Note that an answer is asked for, begins, or is over."""
        services = self.runtime.services
        if services is None:
            return close(session, errors.SEALED, INTERNAL_ERROR)
        if not turn.counted:
            turn.event_id, turn.counted = turn.event_id or str(uuid7()), True
            self._claim(session, turn, services)
        # What Realtime is asked for may come to nothing; of Responses each request has an answer or an error.
        if not turn.opened and (turn.begun or turn.over or session.turns.sequential):
            self._open(session, turn, services)
        session_objects.take_note(session, turn, services)
        if turn.over:
            record(session, turn, "ok", services)
        return None

    def _open(self, session: Session, turn: Turn, services: Services) -> None:
        """Write the answer down: whatever happens to the proxy from now on, it leaves an event."""
        turn.event_id, turn.opened = turn.event_id or str(uuid7()), True
        now = rfc3339(datetime.now(UTC))
        known = {"event_id": turn.event_id, "timestamp": now, "response_id": turn.id, "closes_as": None}
        if model := turn.model or session.turns.model:
            known["model"] = model
        body = turn.asked if session.turns.sequential else b""
        try:
            services.journal.opened({**opening(session.call, body), **known})
        except OSError:
            close(session, errors.SPOOL_UNAVAILABLE, INTERNAL_ERROR)

    def _claim(self, session: Session, turn: Turn, services: Services) -> None:
        """Reserve for an answer that nobody asked for; it has begun already."""
        answer = session_gate.claim_unasked(session, turn, services, self.runtime.settings.prices)
        if answer is not None:
            task = asyncio.get_running_loop().create_task(self._await_claim(session, answer))
            self._claims.add(task)
            task.add_done_callback(self._claims.discard)

    async def _await_claim(self, session: Session, answer: Future[ReservationDecision]) -> None:
        try:
            why_not = limit_errors.why_not(await asyncio.wrap_future(answer))
        except StoreUnavailable:
            why_not = errors.STORE_UNAVAILABLE
        if why_not is not None:
            close(session, why_not, INTERNAL_ERROR if why_not.status >= 500 else POLICY_VIOLATION)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for session in list(open_sessions.values()):
                try:
                    self._look_at(session)
                except Exception:
                    logger.exception("llmproxy: a session's token could not be checked; the session is ended")
                    close(session, errors.INTERNAL, INTERNAL_ERROR)

    def _look_at(self, session: Session) -> None:
        """End a session whose token, project or record no longer allows it."""
        services = self.runtime.services
        if services is None or session.closing:
            return None
        if not services.worker.healthy or services.worker.refuses_calls:
            return close(session, errors.SPOOL_UNAVAILABLE, INTERNAL_ERROR)
        try:
            found = session.looking or services.lookup.find_fingerprint(session.call.fingerprint)
            if isinstance(found, Future):
                session.looking = None if found.done() else found
                if session.looking is not None:
                    return None  # a server is asked; the next look will know
                found = found.result()
        except StoreUnavailable:
            session.unreadable += 1
            if session.unreadable >= PATIENCE:
                close(session, errors.STORE_UNAVAILABLE, INTERNAL_ERROR)
            return None
        session.unreadable = 0
        if why_not := self._why_end(session, found):
            self.runtime.note_refused(session.call, why_not)
            close(session, why_not, POLICY_VIOLATION)
        return None

    def _why_end(self, session: Session, grant: Grant | None) -> Refusal | None:
        """Say why a session may not go on with what its token grants now.

        What has changed holds from now on.
        """
        if grant is None:
            return errors.BY_REASON[Reason.UNKNOWN]
        if reason := check(grant, datetime.now(UTC)):
            return errors.BY_REASON[reason]
        call, settings = session.call, self.runtime.settings
        claims = call.grant.claims if call.grant else {}
        call.grant, call.models = grant.claiming(claims), access.models(grant, settings.models)
        if not call.kind.allowed_by(settings.endpoints):
            return errors.endpoint_refused(call.kind.name)
        return access.judge(grant, call.kind, call.client_address)


def _hide_known(message: websocket.WebSocketMessage, secrets: Sequence[Secret]) -> None:
    """Hide a key that the server repeats."""
    content = StreamScrub(secret.reveal() for secret in secrets).hide(message.content)
    if content != message.content:
        message.content = content


def _hide_secret(message: websocket.WebSocketMessage) -> None:
    """Hide the secret in a session's own description, which opens further sessions without the proxy."""
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

"""What an event of a session's client has to pass before it goes to the API: form, models, limits.

A session of Responses is taken apart into requests, so only the events that are known to make one may pass.
In a realtime session any event may, and what it costs is seen when the server begins to answer.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from mitmproxy import websocket

from addons import model_gate, refusal
from addons.openai.client_events import (
    ASKS,
    OF_RESPONSES,
    STEERS,
    as_object,
    models_named,
    read_head,
    unclear,
)
from addons.openai.output_cap import cap_event
from addons.openai.prices import Prices
from addons.openai.realtime import Turn
from addons.openai.tool_models import tool_models
from addons.policy import refusals, reservation
from addons.refusal import Refusal
from addons.runtime import Services
from addons.session import Session
from store import limits
from store.errors import StoreUnavailable
from store.ledger import Answer, Ask

ON_LOOP = 64 * 1024
"""Bytes of the largest event that is read on the event loop."""


async def judge(session: Session, data: bytes) -> Refusal | None:
    """Why a client's event may not pass, as far as it can be told from the event."""
    if len(data) <= ON_LOOP:
        return judge_event(session, data)
    return await asyncio.to_thread(judge_event, session, data)


def judge_event(session: Session, data: bytes) -> Refusal | None:
    """The same at once; nothing else of the session moves meanwhile."""
    if session.turns.sequential:
        if why := unclear(data):
            return refusal.event_refused(f"The proxy cannot read this event: {why}.")
        kind = read_head(data).get("type")
        if kind not in OF_RESPONSES:
            known = " and ".join(sorted(OF_RESPONSES))
            return refusal.event_refused(f"Over this WebSocket the proxy passes on {known}, no other events.")
        if session.turns.full:
            return refusal.TOO_MANY_WAITING
    return _judge_models(session, data)


def _judge_models(session: Session, data: bytes) -> Refusal | None:
    """A model that is not allowed, anywhere in the event."""
    call = session.call
    if not call.models:
        return None
    named = list(models_named(data))
    tools = tool_models(as_object(data)) if session.turns.sequential else ()
    if why_not := model_gate.judge_each(call, [*named, *tools]):
        return why_not
    if not named and session.turns.sequential and read_head(data).get("type") == ASKS:
        return refusal.model_unknown("the event names no model", call.models[0].whose)
    return None


async def claim(
    session: Session, turn_id: str, kind: object, data: bytes, services: Services, prices: Prices
) -> Refusal | None:
    """Reserve for an event that asks for an answer, under the answer's id; why not, if nothing is left.

    What is added to an answer (`response.steer`) needs something left, and takes nothing: the answer that the
    server begins for it does.
    """
    grant = session.call.grant
    if kind not in (ASKS, STEERS) or grant is None or not grant.needs_claim:
        return None
    try:
        if kind == STEERS:
            return await reservation.look(session.call, services.clerk)
        wanted = await reservation.of_turn(session.call, session.turns.model, data, prices, services.history)
        if isinstance(wanted, Refusal):
            return wanted
        answer = await reservation.reserve(turn_id, grant, wanted, services.clerk)
    except StoreUnavailable:
        return refusal.STORE_UNAVAILABLE
    if answer.hit is None:
        session.reserved.add(turn_id)
    return refusals.why_not(answer)


def claim_unasked(session: Session, turn: Turn, services: Services, prices: Prices) -> Future[Answer] | None:
    """Reserve for an answer that has begun without being asked for; None where there are no limits.

    Queued at once, so that it comes before the answer is settled.
    """
    call = session.call
    if call.grant is None or not call.grant.needs_claim:
        return None
    wanted = reservation.NOTHING
    if not turn.over:  # else it is settled right away
        wanted = reservation.of_unasked(call, session.turns.model, prices, services.history)
        session.reserved.add(turn.event_id)
    return services.clerk.reserve(Ask(turn.event_id, call.grant, wanted.tokens, wanted.nano_usd))


def limit_output(session: Session, message: websocket.WebSocketMessage) -> Refusal | None:
    """Why the answer that an event asks for may be too long; or write the limit into the event."""
    grant = session.call.grant
    most = limits.max_output_tokens(*grant.limits) if grant else None
    if most is None or not any(mark in message.content for mark in (b"response.create", b"max_", b"\\u")):
        return None
    capped = cap_event(message.content, most, sequential=session.turns.sequential)
    if capped.problem is not None:
        return refusal.output_refused(capped.problem, most, capped.param)
    if capped.body is not None:
        message.content = capped.body
    return None

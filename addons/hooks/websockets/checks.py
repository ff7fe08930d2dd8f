"""Check the events of a session's client before they go to the API: form, models, limits.

A session of Responses is taken apart into requests, so only the events that are known to make one may pass.
In a realtime session any event may, and what it costs is seen when the server begins to answer.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial

from mitmproxy import websocket

from addons.checks import models, parameters
from addons.checks.limits import claims, limit_errors, reservation
from addons.flow import errors
from addons.flow.errors import Refusal
from addons.flow.hold import NOTHING
from addons.hooks.websockets.session import Session
from addons.openai.bounds.output_cap import cap_event
from addons.openai.http.json_bounds import has_more_values
from addons.openai.pricing.prices import Prices
from addons.openai.realtime.client_events import (
    ASKS,
    INJECTS,
    OF_RESPONSES,
    STEERS,
    as_object,
    models_named,
    read_head,
    unclear,
)
from addons.openai.realtime.realtime import Turn
from addons.openai.realtime.tool_models import tool_models
from addons.services import Services
from store.core.errors import StoreUnavailable
from store.ledger import ReservationDecision
from store.tokens import limits

ON_LOOP = 64 * 1024
"""Bytes of the largest event that is read on the event loop."""
MOST_VALUES = 100_000
"""It is that of one event; a long conversation has some thousands."""


async def judge(session: Session, data: bytes) -> Refusal | None:
    """Say why a client's event may not pass, as far as it can be told from the event."""
    if len(data) <= ON_LOOP:
        return judge_event(session, data)
    return await asyncio.to_thread(judge_event, session, data)


def judge_event(session: Session, data: bytes) -> Refusal | None:
    """Give the same at once; nothing else of the session moves meanwhile."""
    if session.turns.sequential:
        if why := unclear(data):
            return errors.event_refused(f"The proxy cannot read this event: {why}.")
        kind = read_head(data).get("type")
        if kind not in OF_RESPONSES:
            known = " and ".join(sorted(OF_RESPONSES))
            return errors.event_refused(f"Over this WebSocket the proxy passes on {known}, no other events.")
        if session.turns.full:
            return errors.TOO_MANY_WAITING
    return _judge_models(session, data) or _judge_parameters(session, data)


def _judge_parameters(session: Session, data: bytes) -> Refusal | None:
    """Give a value that is not allowed; an event of Responses that asks is a request as a whole."""
    complete = session.turns.sequential and read_head(data).get("type") == ASKS
    return parameters.judge_event(session.call, data, complete=complete)


def _judge_models(session: Session, data: bytes) -> Refusal | None:
    """Give a model that is not allowed, anywhere in the event."""
    call = session.call
    if not call.models:
        return None
    named = list(models_named(data))
    tools = tool_models(as_object(data)) if session.turns.sequential else ()
    if why_not := models.judge_each(call, [*named, *tools]):
        return why_not
    if not named and session.turns.sequential and read_head(data).get("type") == ASKS:
        return errors.model_unknown("the event names no model", call.models[0].whose)
    return None


async def claim(
    session: Session, turn_id: str, kind: object, data: bytes, services: Services, prices: Prices
) -> Refusal | None:
    """Reserve for an event that asks for an answer, under the answer's id; why not, if nothing is left.

    What is added to an answer (`response.steer`, `response.inject`) needs something left, and takes nothing:
    the answer that the server begins or goes on with does.
    """
    grant = session.call.grant
    if kind not in (ASKS, STEERS, INJECTS) or grant is None or not grant.needs_claim:
        return None
    try:
        if kind != ASKS:
            return await reservation.look(session.call, services.ledger)
        wanted = await reservation.of_turn(session.call, session.turns.model, data, prices, services.history)
        if isinstance(wanted, Refusal):
            return wanted
        if grant.limits_claims:
            event = as_object(data) if len(data) <= ON_LOOP else await asyncio.to_thread(as_object, data)
            grant = claims.of_turn(session.call, event)
        answer = await reservation.reserve(turn_id, grant, wanted, services.ledger)
    except StoreUnavailable:
        return errors.STORE_UNAVAILABLE
    if answer.hit is None:
        session.reserved.add(turn_id)
    return limit_errors.why_not(answer)


def claim_unasked(
    session: Session, turn: Turn, services: Services, prices: Prices
) -> Future[ReservationDecision] | None:
    """Reserve for an answer that has begun without being asked for; None where there are no limits.

    Queued at once, so that it comes before the answer is settled.
    """
    call = session.call
    if call.grant is None or not call.grant.needs_claim:
        return None
    wanted = NOTHING
    if not turn.over:  # else it is settled right away
        wanted = reservation.of_unasked(call, session.turns.model, prices, services.history)
        session.reserved.add(turn.event_id)
    return services.ledger.reserve(reservation.request_of(turn.event_id, call.grant, wanted))


def judge_size(data: bytes) -> Refusal | None:
    """Refuse an event of so many values that it would stop all calls while it is read."""
    if len(data) <= ON_LOOP or not has_more_values(data, MOST_VALUES):
        return None
    return errors.event_refused(f"The proxy cannot read this event: it has more than {MOST_VALUES:,} values.")


async def limit_output(session: Session, message: websocket.WebSocketMessage) -> Refusal | None:
    """Say why the answer that an event asks for may be too long; or write the limit into the event."""
    grant = session.call.grant
    most = limits.max_output_tokens(*grant.limits) if grant else None
    if most is None or not any(mark in message.content for mark in (b"response.create", b"max_", b"\\u")):
        return None
    cap = partial(cap_event, message.content, most, session.call.kind)
    capped = cap() if len(message.content) <= ON_LOOP else await asyncio.to_thread(cap)
    if capped.problem is not None:
        return errors.output_refused(capped.problem, most, capped.param)
    if capped.body is not None:
        message.content = capped.body
    return None

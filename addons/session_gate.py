"""What an event of a session's client has to pass before it goes to the API: form, models, limits.

A session of Responses is taken apart into requests, so only the events that are known to make one may pass.
In a realtime session any event may, and what it costs is seen when the server begins to answer.
"""

from __future__ import annotations

import asyncio

from addons import refusal
from addons.openai.client_events import ASKS, OF_RESPONSES, STEERS, models_named, read_head, unclear
from addons.openai.model_of import refusing
from addons.refusal import Refusal
from addons.runtime import Services
from addons.session import Session
from store.errors import StoreUnavailable
from store.lookup import Reason


def judge(session: Session, data: bytes) -> Refusal | None:
    """Why a client's event may not pass, as far as it can be told from the event."""
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
    for asked in named:
        if asked.unknown is not None:
            return refusal.model_unknown(asked.unknown, call.models[0].whose)
        known = call.azure.model(asked.model) if call.azure and asked.model else None
        if asked.model and (allowed := refusing(known or asked.model, call.models)):
            return refusal.model_refused(asked.model, allowed.whose)
    if not named and session.turns.sequential and read_head(data).get("type") == ASKS:
        return refusal.model_unknown("the event names no model", call.models[0].whose)
    return None


async def claim(session: Session, kind: object, services: Services) -> Refusal | None:
    """Take a call off the token's quota for an event that asks for an answer; why not, if none is left.

    What is added to an answer (`response.steer`) needs one left, and takes none: the answer that the server
    begins for it does.
    """
    grant = session.call.grant
    if kind not in (ASKS, STEERS) or grant is None or grant.token.max_requests is None:
        return None
    claim = services.quota.claim(grant.token.id, consume=kind == ASKS)
    try:
        return None if await asyncio.wrap_future(claim) else refusal.BY_REASON[Reason.QUOTA_EXHAUSTED]
    except StoreUnavailable:
        return refusal.STORE_UNAVAILABLE

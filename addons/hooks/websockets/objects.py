"""Find objects within a session: those that a client's event names, and those that the answers make.

As by HTTP (:mod:`addons.hooks.ownership`). A realtime session has ids of its own for its answers and items,
which are nobody else's; what is told apart there are files and the like.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from addons.checks.ownership import foreign_refused
from addons.flow import errors
from addons.flow.errors import Refusal
from addons.hooks.ownership import INLINE_BYTES, Ownership, note
from addons.hooks.websockets.session import Session
from addons.openai.objects.made import made
from addons.openai.objects.references import in_event
from addons.openai.objects.switches import switches
from addons.openai.realtime.client_events import as_object, is_sound
from addons.openai.realtime.realtime import Turn
from addons.services import Services


async def judge(ownership: Ownership, session: Session, data: bytes) -> Refusal | None:
    """Say why a client's event may not pass: it names an object of another's, or one that nobody made."""
    grant, own_ids = session.call.grant, not session.turns.sequential
    if grant is None or ownership.runtime.settings.ownership == "off" or (own_ids and is_sound(data)):
        return None
    if len(data) <= INLINE_BYTES:
        found = in_event(data, session.call.kind.objects)
    else:
        found = await asyncio.to_thread(in_event, data, session.call.kind.objects)
    if found.unclear is not None:
        return errors.unclear_references(found.unclear)
    return await foreign_refused(ownership.runtime, grant, found.refs, session.call.models)


def take_note(session: Session, turn: Turn, services: Services) -> None:
    """Remember what an answer of Responses makes, when it has begun and again when it is over.

    Its usage is in its own event, so none is still to be counted, whatever it says.
    """
    if not session.turns.sequential or not turn.events or not (turn.begun or turn.over):
        return
    response = as_object(turn.events[-1]).get("response")
    found = made("POST", session.call.url.partition("?")[0], response, switches(as_object(turn.asked)))
    note(session.call, [replace(one, due=False) for one in found], services)

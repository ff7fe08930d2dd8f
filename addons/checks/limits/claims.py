"""Note what a call claims of itself, where limits depend on it: its agent's session, user, address, labels.

By such claims a call only splits what its token and its project may use; nobody gains by another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.checks.check import Check, Phase, grant_of
from addons.flow import request_metadata
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.flow.identity import identity
from addons.openai.agent_session import AgentSession, session_in, session_of
from addons.openai.users import users_in
from store.tokens.models import Grant
from store.tokens.subjects import label_claim
from store.tokens.validation import header_name


class ClaimedByHeaders(Check):
    """Note what is known before the body is there."""

    phase = Phase.HEADERS

    async def check(self, call: Call) -> Refusal | None:
        grant = grant_of(call)
        if grant.limits_claims:
            headers = call.flow.request.headers
            call.request_metadata = request_metadata.read(headers, grant.header_metadata)
            call.grant = _claiming(call, list(headers.items(multi=True)), {}, None)
        return None


class ClaimedByBody(Check):
    """Note what the body says besides."""

    phase = Phase.BODY

    async def check(self, call: Call) -> Refusal | None:
        reading = call.body.reading if call.body is not None else None
        if reading is not None and grant_of(call).limits_claims:
            headers = list(call.flow.request.headers.items(multi=True))
            call.grant = _claiming(call, headers, reading.glance.users, reading.glance.session)
        return None


def of_turn(call: Call, event: Mapping[str, Any]) -> Grant:
    """Give the grant of a request within a session, which `event` makes; headers are the handshake's."""
    users = users_in(event.get("safety_identifier"), event.get("user"), event.get("metadata"))
    return _claiming(call, call.headers, users, session_in(event))


def _claiming(
    call: Call, headers: list[tuple[str, str]], users: Mapping[str, str], said: AgentSession | None
) -> Grant:
    grant = grant_of(call)
    session = session_of(headers, said)
    pairs = call.request_metadata.pairs
    user, _ = identity(grant, pairs, users)
    found = {
        "session": session.id if session else None,
        "user": user.id if user else None,
        "address": call.client_address,
        **{label_claim(label): pairs.get(header_name(label)) for label in grant.limited_labels},
    }
    return grant.claiming({name: text for name, text in found.items() if text})

"""Authenticate a call by the token that the client shows, and check that it still opens anything."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from datetime import UTC, datetime

from addons.checks.check import Check, LiveCircumstances, Phase, grant_of, live_services_of
from addons.flow.call import Call
from addons.flow.errors import BY_REASON, Refusal
from store.core.errors import StoreUnavailable
from store.keys import ephemeral_keys
from store.tokens.lookup import Reason, check
from store.tokens.models import Grant
from store.tokens.token_text import fingerprint

FIND_SECONDS = 15.0
"""Longest that a call waits for the store to find its token."""


class Authentication(Check):
    """Find the token; refuse a call without one, or with one that is not known."""

    phase = Phase.HEADERS

    def __init__(self, here: LiveCircumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        if call.presented is None:
            return BY_REASON[Reason.MISSING]
        call.grant = await self._find(call, call.presented.reveal())
        return BY_REASON[Reason.UNKNOWN] if call.grant is None else None

    async def _find(self, call: Call, text: str) -> Grant | None:
        """Find the token's grant; for an ephemeral key the grant of the token that made it."""
        services = live_services_of(self._here)
        if text.startswith(ephemeral_keys.PREFIX):
            call.minted = await asyncio.to_thread(services.mint.open, text)
        call.fingerprint = call.minted.fingerprint if call.minted else fingerprint(text)
        found = services.lookup.find_fingerprint(call.fingerprint)
        if not isinstance(found, Future):
            return found
        try:
            return await asyncio.wait_for(asyncio.wrap_future(found), FIND_SECONDS)
        except TimeoutError:
            raise StoreUnavailable("the store does not answer") from None


class TokenStanding(Check):
    """Refuse tokens that are revoked, expired or replaced, and those of inactive projects."""

    phase = Phase.HEADERS

    async def check(self, call: Call) -> Refusal | None:
        reason = check(grant_of(call), datetime.now(UTC))
        return BY_REASON[reason] if reason else None

"""Check ephemeral keys: what one opens, and whether one can be made."""

from __future__ import annotations

import asyncio
import logging
import time

from addons.checks.check import Check, LiveCircumstances, Phase, live_services_of
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from store.core.errors import KeyUnavailable
from store.keys.ephemeral_keys import EphemeralKey

logger = logging.getLogger(__name__)


class EphemeralKeyUse(Check):
    """Refuse an ephemeral key that has expired, or that was made for another session or host."""

    phase = Phase.HEADERS

    async def check(self, call: Call) -> Refusal | None:
        return None if call.minted is None else why_not(call.minted, call)


class EphemeralKeyMaking(Check):
    """Refuse to ask for a secret that could not be replaced."""

    phase = Phase.HEADERS

    def __init__(self, here: LiveCircumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        if call.kind.risk != "key_minting":
            return None
        try:
            await asyncio.to_thread(live_services_of(self._here).mint.check)
        except KeyUnavailable as error:
            logger.error("llmproxy: %s", error)
            return errors.NO_MASTER_KEY
        return None


def why_not(minted: EphemeralKey, call: Call) -> Refusal | None:
    """Refuse an ephemeral key that may not be used for a call, or not any more."""
    if time.time() >= minted.expires_at:
        return errors.MINTED_EXPIRED
    fits = call.kind.ephemeral == minted.opens
    if call.host != minted.host or not fits or call.kind.risk == "key_minting":
        return errors.MINTED_ELSEWHERE
    return None

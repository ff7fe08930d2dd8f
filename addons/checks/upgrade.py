"""Check that an upgrade is to a WebSocket, the only other protocol."""

from __future__ import annotations

from addons.checks.check import Check, Circumstances, Phase
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.flow.network.handshake import asks_for_upgrade


class Upgrade(Check):
    """Refuse an upgrade to anything else."""

    phase = Phase.HEADERS

    def __init__(self, here: Circumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        headers = call.flow.request.headers
        if not asks_for_upgrade(call.flow.request):
            return None
        if not (call.websocket and self._here.settings.websockets):
            return errors.NO_WEBSOCKET  # nor without that option: mitmproxy would pass bytes of any kind
        # Compressed, a small message may be one that fills the memory.
        headers.pop("sec-websocket-extensions", None)
        return None

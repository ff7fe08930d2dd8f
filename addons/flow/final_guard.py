"""Have the last word: nothing passes that the gate has not cleared.

An element of mitmproxy's chain of its own, behind all others. It outlives the script: when a reload fails or
the file is deleted, mitmproxy goes on without the gate, and every request ends here.
"""

from __future__ import annotations

from weakref import WeakSet

from mitmproxy import ctx, http, websocket

from addons.flow import errors, flow_metadata
from addons.mitm import internals as mitm

checked: WeakSet[websocket.WebSocketMessage] = WeakSet()
"""The messages of clients that may go to the API; kept by :mod:`addons.hooks.websockets.addon`."""


class FinalGuard:
    """Refuses every live flow without the gate's mark."""

    name = "llmproxy-seal"

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if flow.live and not flow.response and not flow.error and flow_metadata.CLEARED not in flow.metadata:
            flow.request.stream = False
            flow.response = errors.SEALED.response()

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """Drop a client's message that was not checked, and end the session.

        A session may go on after the script is gone; its client then has nothing more to say.
        """
        if flow_metadata.CALL not in flow.metadata or flow.websocket is None:
            return
        message = flow.websocket.messages[-1]
        if message.from_client and message not in checked and not message.dropped:
            message.drop()
            mitm.end_websocket(flow, 1011, errors.SEALED.code)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow_metadata.MINTS in flow.metadata and flow.response:
            flow.response.stream = False  # or there would be nothing left to withhold

    def response(self, flow: http.HTTPFlow) -> None:
        """Withhold an answer whose secret was to be replaced: the script may be gone when it comes."""
        if flow_metadata.MINTS in flow.metadata and flow.response:
            flow.response = errors.MINTED_UNKNOWN.response()
        if flow.request.method.upper() == "HEAD" and flow.response and flow.response.raw_content:
            flow.response.raw_content = b""  # a client would take it for the next answer

    request = requestheaders
    http_connect = requestheaders


def install() -> None:
    """Put the guard at the end of the chain, unless it is there already."""
    if not ctx.master.addons.get(FinalGuard.name):
        ctx.master.addons.add(FinalGuard())

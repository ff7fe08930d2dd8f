"""The last word: nothing passes that the gate has not cleared.

An element of mitmproxy's chain of its own, behind all others. It outlives the script: when a reload fails or
the file is deleted, mitmproxy goes on without the gate, and every request ends here.
"""

from __future__ import annotations

from weakref import WeakSet

from mitmproxy import ctx, http, websocket

from addons import marks, mitm, refusal

checked: WeakSet[websocket.WebSocketMessage] = WeakSet()
"""The messages of clients that may go to the API; kept by :mod:`addons.realtime`."""


class Seal:
    """Refuses every live flow without the gate's mark."""

    name = "llmproxy-seal"

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if flow.live and not flow.response and not flow.error and marks.CLEARED not in flow.metadata:
            flow.request.stream = False
            flow.response = refusal.SEALED.response()

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """A session may go on after the script is gone; its client then has nothing more to say."""
        if marks.CALL not in flow.metadata or flow.websocket is None:
            return
        message = flow.websocket.messages[-1]
        if message.from_client and message not in checked and not message.dropped:
            message.drop()
            mitm.end_websocket(flow, 1011, refusal.SEALED.code)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if marks.MINTS in flow.metadata and flow.response:
            flow.response.stream = False  # or there would be nothing left to withhold

    def response(self, flow: http.HTTPFlow) -> None:
        """The script may be gone when the answer comes whose secret it was to replace."""
        if marks.MINTS in flow.metadata and flow.response:
            flow.response = refusal.MINTED_UNKNOWN.response()

    request = requestheaders
    http_connect = requestheaders


def install() -> None:
    """Put the seal at the end of the chain, unless it is there already."""
    if not ctx.master.addons.get(Seal.name):
        ctx.master.addons.add(Seal())

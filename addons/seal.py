"""The last word: nothing passes that the gate has not cleared.

An element of mitmproxy's chain of its own, behind all others. It outlives the script: when a reload fails or
the file is deleted, mitmproxy goes on without the gate, and every request ends here.
"""

from __future__ import annotations

from mitmproxy import ctx, http

from addons import marks, refusal


class Seal:
    """Refuses every live flow without the gate's mark."""

    name = "llmproxy-seal"

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if flow.live and not flow.response and not flow.error and marks.CLEARED not in flow.metadata:
            flow.request.stream = False
            flow.response = refusal.SEALED.response()

    request = requestheaders
    http_connect = requestheaders


def install() -> None:
    """Put the seal at the end of the chain, unless it is there already."""
    if not ctx.master.addons.get(Seal.name):
        ctx.master.addons.add(Seal())

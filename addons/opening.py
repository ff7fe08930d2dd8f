"""The opening of calls: before one goes upstream it is written down that it does.

Whatever happens to the proxy from then on, the call leaves an event (see :mod:`store.spool.closing`). The
line is written on the event loop, which is why it holds only what can be told in microseconds.
"""

from __future__ import annotations

from typing import Any

from mitmproxy import http

from addons import refusal
from addons.calls import Call, asks_for_websocket, open_calls
from addons.event import attribution
from addons.fail_closed import fail_closed, refuse
from addons.headers import client_info
from addons.identity import identity
from addons.openai.azure import deployment
from addons.openai.glance import glance
from addons.runtime import Runtime
from store.event import SESSION_TYPE, Event
from store.models import rfc3339


class Opening:
    """Behind the gate: what arrives here without a refusal is about to go upstream."""

    name = "llmproxy-opening"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    @fail_closed
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """An upload that is streamed: upstream is dialled right after this."""
        if flow.request.stream:
            self.open(flow)

    @fail_closed
    def request(self, flow: http.HTTPFlow) -> None:
        self.open(flow)

    def open(self, flow: http.HTTPFlow) -> None:
        """Write the call down, or refuse it."""
        call = open_calls.get(flow.id)
        if call is None or call.refused or call.opened or flow.response or flow.error:
            return
        services = self.runtime.services
        why_not = refusal.SEALED
        if services is not None:
            try:
                services.journal.opened(opening(call))
            except OSError:
                why_not = refusal.SPOOL_UNAVAILABLE
            else:
                call.opened = True
                return
        call.refused = why_not.code
        refuse(flow, why_not)


def opening(call: Call, body: bytes | None = None) -> Event:
    """What is known of a call before it goes upstream: fields of its event.

    `body`: of a request within the call's WebSocket session, in the place of its own.
    """
    request = call.flow.request
    if body is None:
        body = b"" if request.stream else call.request_body or request.raw_content or b""
    seen = glance(body)
    path = call.url.partition("?")[0]
    model = seen.model or deployment(path)
    claimed = call.request_metadata.pairs
    who = identity(call.grant, claimed, seen.users)
    client = client_info(call.client_address, call.headers)
    record = {
        "event_id": call.id,
        "timestamp": rfc3339(call.started_at),
        "request_id": call.id,
        "method": call.method,
        "host": call.host,
        "path": path,
        "endpoint": call.endpoint,
        "stream": seen.stream,
        **who,
        "model": model,
        "model_requested": model,
        "client": client,
        **attribution(call.grant),
        "request_metadata": claimed,
        "usage": _usage(seen.input_tokens),
    }
    if asks_for_websocket(request):
        record["closes_as"] = SESSION_TYPE  # no call: its answers are written down one by one
    sent = f"{path} {model} {who} {claimed} {client['user_agent']}"
    if any(secret.reveal() in sent for secret in call.secrets):
        # A client that put its token elsewhere too. Rare enough not to look for the pieces.
        record |= {"path": "[redacted]", "model": None, "model_requested": None, "client": {}}
        record |= {"user": None, "user_claims": {}, "request_metadata": {}}
    return record


def _usage(input_tokens: int | None) -> dict[str, Any] | None:
    if input_tokens is None:
        return None
    return {
        "input_tokens": input_tokens,
        "output_tokens": None,
        "total_tokens": None,
        "input_tokens_details": {},
        "output_tokens_details": {},
        "complete": False,
        "missing": ["cut"],
        "approximate": ["not_whole"],
        "source": "estimate",
    }

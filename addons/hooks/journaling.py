"""Write a journal entry for each call before it goes upstream.

Whatever happens to the proxy from then on, the call leaves an event (see :mod:`store.spool.closing`). The
line is written on the event loop, which is why it holds only what can be told in microseconds.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from mitmproxy import http
from msgspec import UNSET

from addons.flow import errors
from addons.flow.call import Call, open_calls
from addons.flow.fail_closed import fail_closed, refuse
from addons.flow.identity import identity
from addons.flow.key_injection import before_sending
from addons.openai.agent_session import session_of
from addons.openai.glance import Glance, glance
from addons.openai.providers import deployment_in
from addons.recording.event_builder import attribution, session_field
from addons.recording.headers import client_info
from addons.runtime import Runtime
from store.core.event import SESSION_TYPE, Fields
from store.core.event_fields import to_fields
from store.core.times import rfc3339


class Journaling:
    """Stands behind the gate: what arrives here without a refusal is about to go upstream."""

    name = "llmproxy-opening"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    @fail_closed
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Write the entry for an upload that is streamed: upstream is dialled right after this."""
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
        why_not = errors.SEALED
        if services is not None:
            try:
                services.journal.opened({**opening(call), "sent": False})
            except OSError:
                why_not = errors.SPOOL_UNAVAILABLE
            else:
                call.opened = True
                before_sending(flow.request, partial(services.journal.sent, call.id))
                return
        call.refused = why_not.code
        refuse(flow, why_not)


def opening(call: Call, body: bytes | None = None) -> Fields:
    """Give what is known of a call before it goes upstream: fields of its event.

    `body`: of a request within the call's WebSocket session, in the place of its own.
    """
    if body is not None:
        seen = glance(body)
    else:
        seen = call.body.reading.glance if call.body is not None and call.body.reading else Glance()
    path = call.url.partition("?")[0]
    model = seen.model or deployment_in(path)
    claimed = call.request_metadata.pairs
    user, claims = identity(call.grant, claimed, seen.users)
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
        "user": to_fields(user) if user else None,
        "user_claims": claims,
        "model": model,
        "model_requested": model,
        "client": to_fields(client),
        **attribution(call.grant),
        "request_metadata": claimed,
        "usage": _usage(seen.input_tokens),
    }
    session = session_field(session_of(call.headers, seen.session))
    if session is not UNSET and (body is not None or not call.websocket):
        record["session"] = to_fields(session)
    if call.websocket:
        record["closes_as"] = SESSION_TYPE  # no call: its answers are written down one by one
    sent = f"{path} {model} {user} {claims} {claimed} {client.user_agent} {session}"
    if any(secret.reveal() in sent for secret in call.secrets):
        # A client that put its token elsewhere too. Rare enough not to look for the pieces.
        record |= {"path": "[redacted]", "model": None, "model_requested": None, "client": {}}
        record |= {"user": None, "user_claims": {}, "request_metadata": {}}
        record.pop("session", None)
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

"""Guard OpenAI: no request reaches it without a valid token, and no token sees the real key.

Everything is decided before upstream is dialled, by the list of checks (:mod:`addons.checks.pipeline`): in
``requestheaders`` those of the headers, in ``request`` those of the body.
"""

from __future__ import annotations

from mitmproxy import http

from addons.checks.check import Phase, first_refusal
from addons.checks.pipeline import pipeline
from addons.flow import credential, flow_metadata, request_metadata
from addons.flow.call import Call, open_call, open_calls
from addons.flow.errors import Refusal
from addons.flow.fail_closed import fail_closed, refuse
from addons.flow.network.handshake import is_handshake
from addons.openai.endpoints import resolve
from addons.runtime import Runtime


class Gate:
    """Clear or refuse each call of an OpenAI host; nothing else passes (:mod:`addons.flow.final_guard`)."""

    name = "llmproxy-gate"  # mitmproxy refuses two addons of one name, and takes the class's by default

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.checks = pipeline(runtime, runtime)

    @fail_closed
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        if not flow.live or flow.response or flow.error:
            return
        if not self.runtime.settings.destinations.concerns(flow):
            return  # addons.hooks.destinations has judged it
        path, _, query = flow.request.path.partition("?")
        websocket = is_handshake(flow.request)
        endpoint = resolve(flow.request.method, path, upgrade=websocket, query=query)
        call = open_call(flow, endpoint, websocket=websocket)
        flow.metadata[flow_metadata.CALL] = call.id
        why_not = await self._check_headers(call)
        if why_not is not None:
            self.runtime.note_refused(call, why_not)
            self._refuse(call, why_not)
            return
        if endpoint.risk == "key_minting":
            flow.metadata[flow_metadata.MINTS] = True
        flow.metadata[flow_metadata.CLEARED] = True

    async def _check_headers(self, call: Call) -> Refusal | None:
        """Say why the call may not pass; its credential leaves the flow either way."""
        request = call.flow.request
        call.presented = credential.presented(request)
        try:
            if call.presented is not None:
                call.secrets.append(call.presented)
            return await first_refusal(self.checks, Phase.HEADERS, call)
        finally:
            credential.remove(request, call.grant.token.id if call.grant else "refused")
            names = call.grant.header_metadata if call.grant else ()
            call.request_metadata = request_metadata.take(request.headers, names)
            call.headers = list(request.headers.items(multi=True))

    @fail_closed
    async def request(self, flow: http.HTTPFlow) -> None:
        """Check the call once its body is there, and still before upstream is dialled."""
        call = open_calls.get(flow.id)
        if call is None or call.refused or flow.response or flow.error:
            return
        # They come with the body's end, and are no part of the API.
        flow.request.trailers = None
        if (why_not := await first_refusal(self.checks, Phase.BODY, call)) is not None:
            self._refuse(call, why_not)

    def _refuse(self, call: Call, why_not: Refusal) -> None:
        """Refuse a call; where it was to try an upstream that had failed, another one may."""
        if call.upstream is not None:
            self.runtime.breaker.forget_probe(call.upstream.authority, call.id)
        refuse(call.flow, why_not)

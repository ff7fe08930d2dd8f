"""Serve browsers: preflights are answered here, and answers say which pages may read them."""

from __future__ import annotations

from mitmproxy import http

from addons.flow import cors, errors
from addons.flow.fail_closed import fail_closed, observe_only, refuse
from addons.mitm import internals as mitm
from addons.runtime import Runtime


class Preflights:
    """Stands before the gate: a preflight carries no token, and nothing of it goes upstream."""

    name = "llmproxy-preflights"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    @fail_closed
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        settings = self.runtime.settings
        if not flow.live or flow.response or flow.error or not settings.cors_origins:
            return
        if not cors.is_preflight(flow.request) or not settings.destinations.concerns(flow):
            return
        origin = flow.request.headers[cors.ORIGIN]
        if not cors.is_allowed(origin, settings.cors_origins):
            refuse(flow, errors.origin_refused(origin, "option llm_cors_origins", settings.cors_origins))
            return
        flow.request.stream = False
        flow.response = cors.preflight_answer(flow.request)
        mitm.discard_request_body(flow)


class BrowserHeaders:
    """Stands behind all that makes or keeps answers: the headers are for one origin, and are not kept."""

    name = "llmproxy-browser-headers"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    @observe_only
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        settings = self.runtime.settings
        if flow.response is not None and settings.cors_origins and settings.destinations.concerns(flow):
            cors.let_read(flow.request, flow.response, settings.cors_origins)

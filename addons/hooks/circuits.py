"""Watch how upstreams answer, for their circuits."""

from __future__ import annotations

from mitmproxy import http

from addons.flow.call import Call, open_calls
from addons.flow.fail_closed import observe_only
from addons.flow.network.circuit_breaker import FIRST_FAILURE
from addons.runtime import Runtime


class Circuits:
    """Stands before the recorder, which ends calls."""

    name = "llmproxy-circuits"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    @observe_only
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        call = _sent(flow)
        if call is not None and flow.response is not None:
            self._note(call, failed=flow.response.status_code >= FIRST_FAILURE)

    @observe_only
    def error(self, flow: http.HTTPFlow) -> None:
        call = _sent(flow)
        if call is None or call.headers_at is not None or call.upstream is None:
            return
        message = flow.error.msg if flow.error else ""
        if not call.unanswered and (not flow.client_conn.connected or "by client" in message):
            self.runtime.breaker.forget_probe(call.upstream.authority, call.id)
        else:
            self._note(call, failed=True)

    def _note(self, call: Call, *, failed: bool) -> None:
        rule = self.runtime.settings.circuit_breaker
        if rule is None or call.upstream is None:
            return
        if failed:
            self.runtime.breaker.note_failure(call.upstream.authority, rule, call.id)
        else:
            self.runtime.breaker.note_answer(call.upstream.authority, call.id)


def _sent(flow: http.HTTPFlow) -> Call | None:
    """Give the call of a flow that has gone upstream; None for what the proxy has answered itself."""
    call = open_calls.get(flow.id)
    return call if call is not None and call.opened and not call.refused else None

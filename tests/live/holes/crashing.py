"""Makes mitmproxy's own code fail while it relays the answer of a request with ``crash`` in its query."""

from mitmproxy import http


def fail(data: bytes) -> bytes:
    raise RuntimeError("a stream callable that raises")


def responseheaders(flow: http.HTTPFlow) -> None:
    if "crash" in flow.request.query:
        assert flow.response
        flow.response.stream = fail

"""Let bodies pass bare mitmdump as they come, as the bundle does: a script for it.

Where clients come by CONNECT, it also leads their calls to the upstream of the measurement.
"""

from __future__ import annotations

import os

from mitmproxy import http

UPSTREAM = os.environ.get("BENCH_UPSTREAM")


def requestheaders(flow: http.HTTPFlow) -> None:
    """Lead the call to the upstream that the environment names, if it names one."""
    if UPSTREAM:
        host, _, port = UPSTREAM.partition(":")
        flow.request.scheme, flow.request.host, flow.request.port = "http", host, int(port)


def responseheaders(flow: http.HTTPFlow) -> None:
    """Stream every answer through a function that changes nothing."""
    assert flow.response is not None
    flow.response.stream = lambda data: data

"""Give the dispatcher's figures in Prometheus' text format.

Each has one label, `sink`, so a dispatcher with N sinks has N series of each.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dispatch.delivery import Totals
from dispatch.state import health

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

logger = logging.getLogger(__name__)

PREFIX = "llmproxy_dispatch_"

COUNTERS = {
    "sent": "Events that the backend took.",
    "dead": "Events put aside, with the reason: the backend will never take them.",
    "skipped": "Records that the backend has no use for.",
    "requests": "Requests to the backend.",
    "retries": "Requests that failed and were, or will be, made again.",
    "batches": "Moves of the cursor.",
}


class DispatchCollector(Collector):
    """Reads the totals when it is asked."""

    def __init__(self, totals: Mapping[str, Totals]) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        totals = dict(self._totals)
        for field, text in COUNTERS.items():
            counter = CounterMetricFamily(PREFIX + field, text, labels=["sink"])
            for sink, of in totals.items():
                counter.add_metric([sink], getattr(of, field))
            yield counter
        gauges: dict[str, tuple[str, dict[str, float]]] = {
            "backlog_bytes": (
                "Bytes of the spool that are still to be sent.",
                {sink: of.backlog for sink, of in totals.items()},
            ),
            "lag_seconds": (
                "Age of the oldest event that is not sent; 0 where all are.",
                {sink: of.lag(time.time()) for sink, of in totals.items()},
            ),
            "failing": (
                "1 while the last request failed, or the spool can't be used.",
                {sink: float(bool(of.error)) for sink, of in totals.items()},
            ),
        }
        for name, (text, values) in gauges.items():
            gauge = GaugeMetricFamily(PREFIX + name, text, labels=["sink"])
            for sink, value in values.items():
                gauge.add_metric([sink], value)
            yield gauge


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""


def _application(totals: Mapping[str, Totals]) -> WSGIApplication:
    """Serve ``/health``; every other path has the metrics."""
    registry = CollectorRegistry()
    registry.register(DispatchCollector(totals))
    metrics = make_wsgi_app(registry)

    def serve(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != "/health":
            answer: Iterable[bytes] = metrics(environ, start)
            return answer
        found = health(totals)
        status = "200 OK" if found["status"] == "ok" else "503 Service Unavailable"
        start(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [json.dumps(found).encode() + b"\n"]

    return serve


@contextlib.contextmanager
def served(totals: Mapping[str, Totals], host: str, port: int) -> Iterator[int]:
    """Serve ``/metrics`` and ``/health`` from a thread; gives the port. Raises OSError."""
    try:
        server = make_server(host, port, _application(totals), _Server, handler_class=_Quiet)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"--metrics-port {port} on {host}") from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        logger.info("metrics at http://%s:%d/metrics", host, server.server_port)
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()

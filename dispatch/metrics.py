"""The dispatcher's figures in Prometheus' text format.

Each has one label, `sink`, so a dispatcher with N sinks has N series of each.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping

from prometheus_client import start_http_server
from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dispatch.delivery import Totals

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


@contextlib.contextmanager
def served(totals: Mapping[str, Totals], host: str, port: int) -> Iterator[int]:
    """Serve ``/metrics`` from a thread; gives the port. Raises OSError where it can't be listened on."""
    registry = CollectorRegistry()
    registry.register(DispatchCollector(totals))
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"--metrics-port {port} on {host}") from error
    try:
        logger.info("metrics at http://%s:%d/metrics", host, server.server_port)
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()

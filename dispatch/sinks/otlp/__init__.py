"""Send OpenTelemetry: a span for each call, token and duration metrics, and content as events on request.

OTLP over HTTP in protobuf (https://opentelemetry.io/docs/specs/otlp/). The messages are built by hand, with
`opentelemetry-proto`: the SDK can't replay metrics of the past, is several times slower, and hides what a
collector refused inside an answer of 200. Ids are derived from the `event_id`, so a span that is sent twice
is the same span. Needs the extra ``llmproxy[otlp]``.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from google.protobuf import json_format  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from dispatch.errors import Misconfigured
from dispatch.sinks import Parcel, Plan, Rejected
from dispatch.sinks.calls import Call, call
from dispatch.sinks.http import Endpoint, Failed, Refused
from dispatch.sinks.isolate import Item, Work, answers, isolate
from dispatch.sinks.otlp.attributes import pairs
from dispatch.sinks.otlp.content import details
from dispatch.sinks.otlp.metrics import metrics
from dispatch.sinks.otlp.spans import span
from store.spool import Record

logger = logging.getLogger(__name__)

URL = "http://localhost:4318"
PARCEL = 500
RESPONSES = {
    "traces": ExportTraceServiceResponse,
    "metrics": ExportMetricsServiceResponse,
    "logs": ExportLogsServiceResponse,
}
LEVEL = 1
"""It is that of compression: the calls of a batch look alike, so more effort gains little."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Says what goes to one route: items that can be isolated, or a body that belongs to no single call."""

    route: str
    work: Work
    body: bytes = b""


class OtlpSink:
    """Sends calls, never other records."""

    name = "otlp"

    def __init__(
        self,
        *,
        endpoint: str = URL,
        headers: str = "",
        service_name: str = "llmproxy",
        compression: str = "gzip",
        without_metrics: bool = False,
        include_content: bool = False,
    ) -> None:
        """Take `headers` as in OTEL_EXPORTER_OTLP_HEADERS: ``key=value,...``, percent-encoded.

        Raises Misconfigured.
        """
        self._compress = compression == "gzip"
        self._without_metrics = without_metrics
        self._include_content = include_content
        self._resource = Resource(attributes=pairs({"service.name": service_name}))
        self._scope = InstrumentationScope(name="llmproxy")
        sent = {"content-type": "application/x-protobuf", **_headers(headers)}
        if self._compress:
            sent["content-encoding"] = "gzip"
        self._endpoints = {
            route: Endpoint("otlp", f"{endpoint.rstrip('/')}/v1/{route}", sent)
            for route in ("traces", "metrics", "logs")
        }

    def plan(self, records: Sequence[Record]) -> Plan:
        plan = Plan()
        found: list[tuple[Record, Call]] = []
        for record in records:
            made = call(record, include_content=self._include_content)
            if made is None:
                plan.skipped += 1
            else:
                found.append((record, made))
        for start in range(0, len(found), PARCEL):
            part = found[start : start + PARCEL]
            calls = [made for _, made in part]
            spans = [Item(record, span(made)) for record, made in part]
            plan.parcels.append(Parcel([record for record, _ in part], Signal("traces", Work(spans))))
            if self._include_content:
                logs = [Item(record, event) for record, made in part if (event := details(made)) is not None]
                if logs:
                    plan.parcels.append(Parcel([], Signal("logs", Work(logs))))
            if not self._without_metrics:
                plan.parcels.append(Parcel([], Signal("metrics", Work([]), self._metrics(calls))))
        return plan

    def send(self, parcel: Parcel) -> list[Rejected]:
        signal: Signal = parcel.content
        if signal.route == "metrics":
            self._send_metrics(signal)
            return []
        post = self._post_spans if signal.route == "traces" else self._post_logs
        return isolate(signal.work, post, lambda: self._post(signal.route, b""))

    def check(self) -> str:
        """Check that a request without anything in it is valid, and stores nothing."""
        self._post("traces", b"")
        if self._include_content:
            self._post("logs", b"")
        if not self._without_metrics:
            self._post("metrics", b"")
        return f"{self._endpoints['traces'].url} takes requests"

    def close(self) -> None:
        for endpoint in self._endpoints.values():
            endpoint.close()

    def _alive(self) -> bool:
        return answers(lambda: self._post("traces", b""))

    def _post(self, route: str, body: bytes) -> Any:
        """Post; return the collector's answer, in the form of its route."""
        data = gzip.compress(body, LEVEL) if self._compress else body
        endpoint = self._endpoints[route]
        answer = endpoint.post(data)
        found = _parsed(RESPONSES[route], answer.body)
        if found is None:
            raise endpoint.stranger(answer.status, answer.body)
        return found

    def _post_spans(self, items: Sequence[Item]) -> list[Rejected]:
        request = ExportTraceServiceRequest()
        scope = request.resource_spans.add(resource=self._resource).scope_spans.add(scope=self._scope)
        scope.spans.extend(item.content for item in items)
        partial = self._post("traces", request.SerializeToString()).partial_success
        return _rejected(items, partial.rejected_spans, partial.error_message)

    def _post_logs(self, items: Sequence[Item]) -> list[Rejected]:
        request = ExportLogsServiceRequest()
        scope = request.resource_logs.add(resource=self._resource).scope_logs.add(scope=self._scope)
        scope.log_records.extend(item.content for item in items)
        partial = self._post("logs", request.SerializeToString()).partial_success
        return _rejected(items, partial.rejected_log_records, partial.error_message)

    def _metrics(self, calls: Sequence[Call]) -> bytes:
        request = ExportMetricsServiceRequest()
        scope = request.resource_metrics.add(resource=self._resource).scope_metrics.add(scope=self._scope)
        scope.metrics.extend(metrics(calls))
        body: bytes = request.SerializeToString()
        return body

    def _send_metrics(self, signal: Signal) -> None:
        """Send points.

        They are sums over calls: none is put aside for one of them, and spans hold the same figures.
        """
        try:
            partial = self._post("metrics", signal.body).partial_success
        except (Refused, Failed) as error:
            if isinstance(error, Failed) and not signal.work.to_blame(self._alive):
                raise
            logger.warning("%s (metrics of one batch are missing there; its spans are not)", error)
            return
        if partial.rejected_data_points:
            logger.warning(
                "otlp: %d points of metrics were refused: %s",
                partial.rejected_data_points,
                partial.error_message,
            )


def _rejected(items: Sequence[Item], number: int, reason: str) -> list[Rejected]:
    """Put all of them aside: a partial success must not be sent again, and does not say which."""
    if not number:
        if reason:
            logger.warning("otlp: the collector warns: %s", reason)
        return []
    text = f"otlp: {number} of the {len(items)} in this request were refused, which is not said: {reason}"
    return [Rejected(item.record, text) for item in items]


def _parsed(kind: Any, body: bytes) -> Any:
    """Read the answer, which some gateways give in JSON; None where it is neither.

    Nothing is a success, too.
    """
    try:
        return kind.FromString(body)
    except DecodeError:
        pass
    try:
        return json_format.Parse(body, kind(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError):
        return None


def _headers(text: str) -> Mapping[str, str]:
    made = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            # The value may be a key: it is not shown.
            raise Misconfigured("otlp: headers: write key=value,key=value, percent-encoded.")
        made[unquote(name.strip()).lower()] = unquote(value.strip())
    return made

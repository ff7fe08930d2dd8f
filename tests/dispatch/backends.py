"""Helicone, Lunary and an OTLP collector for tests: strict, with real HTTP that is kept alive.

Each refuses what the service refuses and notes what it was sent. `faults` is a list of what to answer to the
next requests: a status, a status with headers, `CUT` (closed without an answer), or None (no fault).
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

KEY = "sk-secret-key"
CUT = "cut"
CUT_AFTER = "cut after it was taken"

Answer = tuple[int, bytes]


@dataclass
class Backend:
    """One route or more of a service. Subclasses judge a request."""

    faults: list[Any] = field(default_factory=list)
    requests: int = 0
    connections: int = 0
    poison: str | None = None
    """A text that the server can't take."""
    poison_status: int = 400
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def judge(self, path: str, headers: Any, body: bytes) -> Answer:
        raise NotImplementedError

    def take(self, path: str, headers: Any, body: bytes) -> Answer:
        if self.poison and self.poison.encode() in body:
            return self.poison_status, b'{"error":"poison"}'
        return self.judge(path, headers, body)

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with backend.lock:
                    backend.connections += 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                with backend.lock:
                    backend.requests += 1
                    fault = backend.faults.pop(0) if backend.faults else None
                if fault == CUT:
                    return self.cut()
                extra: dict[str, str] = {}
                if isinstance(fault, tuple):
                    fault, extra = fault
                if isinstance(fault, int):
                    status, answer = fault, b'{"error":"as asked"}'
                else:
                    with backend.lock:
                        status, answer = backend.take(self.path, self.headers, body)
                if fault == CUT_AFTER:
                    return self.cut()
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                for name, value in extra.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)
                return None

            def cut(self) -> None:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield self.url
        finally:
            server.shutdown()
            server.server_close()


@dataclass
class Helicone(Backend):
    """The checks of Helicone's worker."""

    logs: list[dict[str, Any]] = field(default_factory=list)
    http_headers: list[dict[str, str]] = field(default_factory=list)
    inner_errors: int = 0
    """Requests that are answered 200 with an error inside."""

    def judge(self, path: str, headers: Any, body: bytes) -> Answer:
        if headers["authorization"] != f"Bearer {KEY}":
            return 401, b'{"error":"bad key"}'
        if path != "/custom/v1/log" or headers["content-type"] != "application/json":
            return 404, b""
        if len(body) > 10 * 2**20:
            return 400, b'{"error":"Payload too large"}'
        try:
            log = json.loads(body)
            request, response, timing = log["providerRequest"], log["providerResponse"], log["timing"]
            assert isinstance(request["url"], str)
            assert isinstance(request["json"], dict)
            assert all(isinstance(value, str) for value in request["meta"].values())
            assert isinstance(response["json"], dict)
            assert isinstance(response["status"], int)
            assert uuid.UUID(request["meta"]["Helicone-Request-Id"]).version in range(1, 6)
            for name in ("startTime", "endTime"):
                assert set(timing[name]) == {"seconds", "milliseconds"}
                assert 0 <= timing[name]["milliseconds"] < 1000
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            return 400, json.dumps({"error": repr(error)}).encode()
        if self.inner_errors:
            self.inner_errors -= 1
            return 200, b'{"error":"could not be stored"}'
        self.logs.append(log)
        self.http_headers.append(dict(headers.items()))
        return 200, b"ok"


@dataclass
class Lunary(Backend):
    """The rules of Lunary's ingest route."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)
    """Ends without a start, which the service loses without a word."""
    fail_runs: set[str] = field(default_factory=set)
    """Runs whose events can't be stored."""

    def judge(self, path: str, headers: Any, body: bytes) -> Answer:
        if headers["authorization"] != f"Bearer {KEY}":
            return 401, b'{"message":"no such project"}'
        if path != "/v1/runs/ingest" or len(body) > 20 * 2**20:
            return 413, b""
        events = json.loads(body)["events"]
        results = [self.store(event) for event in sorted(events, key=lambda event: event["timestamp"])]
        return 200, json.dumps({"results": results}).encode()

    def store(self, event: dict[str, Any]) -> dict[str, Any]:
        run_id, kind = event["runId"], event["event"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"])
        assert event["type"] in {"llm", "embed"}
        if run_id in self.fail_runs:
            return {"id": run_id, "success": False, "error": "can't be stored"}
        if kind == "start":
            if run_id in self.runs:
                error = "Run with this ID already exists in the database."
                return {"id": run_id, "success": False, "error": error}
            self.runs[run_id] = {"start": event}
        elif run_id not in self.runs:
            self.orphans.append(run_id)
        else:
            self.runs[run_id][kind] = event
        return {"id": run_id, "success": True}


@dataclass
class Collector(Backend):
    """An OTLP receiver; its parser is the protocol's own."""

    spans: list[Any] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    logs: list[Any] = field(default_factory=list)
    resources: list[Any] = field(default_factory=list)
    reject_spans: int = 0
    without_metrics: bool = False

    def judge(self, path: str, headers: Any, body: bytes) -> Answer:
        if headers["content-type"] != "application/x-protobuf" or headers["x-key"] != KEY:
            return 401, b""
        if path == "/v1/traces":
            for found in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(found.resource)
                self.spans += [span for scope in found.scope_spans for span in scope.spans]
            if self.reject_spans:
                answer = ExportTraceServiceResponse()
                answer.partial_success.rejected_spans = self.reject_spans
                answer.partial_success.error_message = "as asked"
                return 200, answer.SerializeToString()
        elif path == "/v1/metrics" and not self.without_metrics:
            for found in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics += [metric for scope in found.scope_metrics for metric in scope.metrics]
        elif path == "/v1/logs":
            for found in ExportLogsServiceRequest.FromString(body).resource_logs:
                self.logs += [log for scope in found.scope_logs for log in scope.log_records]
        else:
            return 404, b"no such route"
        return 200, b""


def milliseconds(text: str) -> int:
    """Of an RFC 3339 time, since 1970."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def attributes(found: Any) -> dict[str, Any]:
    """OTLP attributes as a dict."""

    def value(any_value: Any) -> Any:
        kind = any_value.WhichOneof("value")
        if kind == "array_value":
            return [value(item) for item in any_value.array_value.values]
        return getattr(any_value, kind)

    return {pair.key: value(pair.value) for pair in found.attributes}

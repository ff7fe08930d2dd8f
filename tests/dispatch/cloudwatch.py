"""CloudWatch Logs for tests: moto as a process, and a strict, faulty layer in front of it.

moto accepts calls that the service refuses (too many events, too many bytes, more than a day). The layer
refuses those, by the API reference of PutLogEvents, and fails on request.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3

MAX_BYTES, MAX_EVENTS, OVERHEAD, DAY_MS = 1_048_576, 10_000, 26, 86_400_000
REGION = "eu-central-1"

CUT_BEFORE, CUT_AFTER = "cut before it is taken", "cut after it was taken"


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """The address of a moto server in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, "moto did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def client(endpoint: str) -> Any:
    return boto3.client(
        "logs",
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def stored(endpoint: str, group: str) -> list[dict[str, Any]]:
    """Every message that the log group holds, with its time as `stored_at`, in the order of time."""
    pages = client(endpoint).get_paginator("filter_log_events").paginate(logGroupName=group)
    return [
        {**json.loads(event["message"]), "stored_at": event["timestamp"]}
        for page in pages
        for event in page["events"]
    ]


def violation(events: list[dict[str, Any]]) -> str | None:
    """What the service would refuse a call for."""
    times = [event["timestamp"] for event in events]
    if not 1 <= len(events) <= MAX_EVENTS:
        return f"{len(events)} events"
    if (size := sum(len(event["message"].encode()) + OVERHEAD for event in events)) > MAX_BYTES:
        return f"{size} bytes"
    if any(not event["message"] or set(event) != {"timestamp", "message"} for event in events):
        return "a malformed event"
    if times != sorted(times):
        return "not in order"
    if times[-1] - times[0] > DAY_MS:
        return "more than 24 hours"
    return None


@dataclass
class Layer:
    """Checks every PutLogEvents and hands it on, unless a fault is due: a status and code, or a cut."""

    upstream: str
    faults: list[Any] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """What calls were refused for."""
    puts: list[int] = field(default_factory=list)
    """Events of each PutLogEvents."""
    poison: str | None = None
    """A text whose message makes its whole call invalid."""
    url: str = ""

    @contextlib.contextmanager
    def running(self) -> Iterator[Layer]:
        layer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                layer.answer(self, body)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        is_put = handler.headers["x-amz-target"].endswith(".PutLogEvents")
        fault = None
        if is_put:
            events = json.loads(body)["logEvents"]
            self.puts.append(len(events))
            fault = self.faults.pop(0) if self.faults else None
            wrong = violation(events)
            if self.poison and any(self.poison in event["message"] for event in events):
                wrong = "poison"
            if wrong:
                self.refused.append(wrong)
                fault = (400, "InvalidParameterException")
        if fault == CUT_BEFORE:
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
            return
        if isinstance(fault, tuple):
            self.send(handler, fault[0], json.dumps({"__type": fault[1], "message": "as asked"}).encode())
            return
        status, answer = self.forward(handler, body)
        if fault == CUT_AFTER:
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
            return
        self.send(handler, status, answer)

    def forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.upstream.removeprefix("http://"), timeout=60)
        names = ("x-amz-target", "content-type", "authorization", "x-amz-date")
        headers = {name: handler.headers[name] for name in names if handler.headers[name]}
        connection.request("POST", "/", body, headers)
        response = connection.getresponse()
        with contextlib.closing(connection):
            return response.status, response.read()

    def send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        handler.send_response(status)
        handler.send_header("content-type", "application/x-amz-json-1.1")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

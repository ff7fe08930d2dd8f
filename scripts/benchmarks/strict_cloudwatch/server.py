"""Serve HTTP: JSON 1.1 over POST, kept-alive connections, SigV4 looked at but not verified."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from scripts.benchmarks.strict_cloudwatch import rules
from scripts.benchmarks.strict_cloudwatch.faults import Fault
from scripts.benchmarks.strict_cloudwatch.operations import OPERATIONS, arn
from scripts.benchmarks.strict_cloudwatch.state import Event, Logs, Put

SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/[a-z0-9-]+/(?P<service>[a-z]+)/aws4_request,"
)


class StrictCloudWatch:
    """Serves on 127.0.0.1. A context manager; :meth:`stop` and :meth:`start` play an outage."""

    def __init__(
        self,
        *,
        keep: bool = True,
        max_event_bytes: int = rules.MAX_BYTES,
        per_second: int | None = None,
        port: int = 0,
    ) -> None:
        """Take `keep=False` to count events without keeping them.

        `per_second` throttles PutLogEvents beyond it.

        `max_event_bytes` counts the 26 bytes of overhead; endpoints of the older limit have 262,144.
        """
        self.logs = Logs(keep=keep)
        self.puts: list[Put] = []
        self.calls: list[str] = []
        """Every operation, in the order of arrival."""
        self.faults: list[Fault | None] = []
        """Befall the next calls of PutLogEvents, the first one first; None lets one through."""
        self.chance: Callable[[], Fault | None] = lambda: None
        """Asked for each PutLogEvents that no listed fault befalls; by several threads at once."""
        self.denied: set[str] = set()
        """Actions (`logs:PutLogEvents`) that the caller has no right to."""
        self.poison: str | None = None
        """A text whose message makes its whole call invalid."""
        self.access_keys: set[str] | None = None
        """Keys that are known; None for any."""
        self.connections = 0
        self._max_event_bytes = max_event_bytes
        self._per_second = per_second
        self._window: list[float] = []
        self._port = port
        self._lock = threading.RLock()
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> StrictCloudWatch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Go away, with every open connection."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def events(self, group: str, stream: str | None = None) -> list[Event]:
        """Give what a group, or one stream of it, holds, in the order of arrival within each stream."""
        with self._lock:
            streams = self.logs.groups[group].streams
            names: Iterable[str] = streams if stream is None else [stream]
            return [event for name in names for event in streams[name]]

    def messages(self, group: str, stream: str | None = None) -> list[dict[str, Any]]:
        """Give the same, as the JSON objects that they are."""
        return [json.loads(event.message) for event in self.events(group, stream)]

    def create(self, group: str, *streams: str) -> None:
        """Make a group, if it is missing, and streams, as an operator would have."""
        with self._lock:
            if group not in self.logs.groups:
                OPERATIONS["CreateLogGroup"](self.logs, {"logGroupName": group})
            for stream in streams:
                OPERATIONS["CreateLogStream"](self.logs, {"logGroupName": group, "logStreamName": stream})

    def fault(self, operation: str) -> Fault | None:
        """Give what is to befall this call."""
        if operation != "PutLogEvents":
            return None
        with self._lock:
            if self.faults:
                return self.faults.pop(0)
        return self.chance()

    def answer(
        self, operation: str, given: dict[str, Any], *, fault: Fault | None = None, connection: int = 0
    ) -> dict[str, Any]:
        """Do what is asked. Raises rules.Refused."""
        with self._lock:
            self.calls.append(operation)
            if f"logs:{operation}" in self.denied:
                raise self._no_right(operation, given)
            if operation == "PutLogEvents":
                return self._put(given, fault, connection)
            if operation not in OPERATIONS:
                raise rules.Refused("UnknownOperationException", f"{operation} is unknown to this server")
            return OPERATIONS[operation](self.logs, given)

    def check_credentials(self, authorization: str | None) -> None:
        """Raise rules.Refused without a signature of the right form by a known key."""
        if not authorization:
            raise rules.Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
        found = SIGNATURE.match(authorization)
        if found is None or found["service"] != "logs":
            raise rules.Refused("IncompleteSignature", "Authorization header is not of the form of SigV4")
        if self.access_keys is not None and found["key"] not in self.access_keys:
            message = "The security token included in the request is invalid."
            raise rules.Refused("UnrecognizedClientException", message)

    def _put(self, given: dict[str, Any], fault: Fault | None, connection: int) -> dict[str, Any]:
        events = given.get("logEvents")
        outcome = "stored"
        try:
            rules.check_types(events)
            assert isinstance(events, list)
            self._throttle()
            if wrong := self._violation(events):
                raise rules.invalid(wrong)
            group, stream = given.get("logGroupName"), given.get("logStreamName")
            return self.logs.put(group, stream, events, fault.reject if fault else None)
        except rules.Refused as refused:
            outcome = refused.message
            raise
        finally:
            self._note(given, events if isinstance(events, list) else [], outcome, connection)

    def _violation(self, events: Sequence[dict[str, Any]]) -> str | None:
        if self.poison and any(self.poison in event["message"] for event in events):
            return "poison"
        now = int(time.time() * 1000)
        return rules.violation(events, now=now, max_event_bytes=self._max_event_bytes)

    def _throttle(self) -> None:
        if self._per_second is None:
            return
        now = time.monotonic()
        self._window = [at for at in self._window if now - at < 1]
        if len(self._window) >= self._per_second:
            raise rules.Refused("ThrottlingException", "Rate exceeded")
        self._window.append(now)

    def _note(
        self, given: dict[str, Any], events: Sequence[dict[str, Any]], outcome: str, connection: int
    ) -> None:
        size = sum(
            len(str(event.get("message")).encode(errors="replace")) + rules.OVERHEAD for event in events
        )
        group, stream = str(given.get("logGroupName")), str(given.get("logStreamName"))
        self.puts.append(Put(group, stream, len(events), size, outcome, connection, "sequenceToken" in given))

    def _no_right(self, operation: str, given: dict[str, Any]) -> rules.Refused:
        resource = arn(given.get("logGroupName", "*"))
        return rules.Refused(
            "AccessDeniedException",
            f"User: arn:aws:iam::123456789012:user/sender is not authorized to perform: logs:{operation} "
            f"on resource: {resource} because no identity-based policy allows the logs:{operation} action",
        )

    def delete(self, what: str, given: dict[str, Any]) -> None:
        """Do what a person, or a clean-up job, does behind the sender's back."""
        with self._lock, contextlib.suppress(rules.Refused):
            OPERATIONS["DeleteLogGroup" if what == "group" else "DeleteLogStream"](self.logs, given)

    @contextlib.contextmanager
    def connected(self, connection: socket.socket) -> Iterator[int]:
        """Number a connection while it is open."""
        with self._lock:
            self.connections += 1
            self._open.add(connection)
            number = self.connections
        try:
            yield number
        finally:
            with self._lock:
                self._open.discard(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], cloud: StrictCloudWatch) -> None:
        self.cloud = cloud
        super().__init__(address, _Handler)

    def handle_error(self, *_: Any) -> None:
        """Say nothing: a connection that broke is nothing to report here."""


class _Handler(BaseHTTPRequestHandler):
    """Serves one connection."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    """Buffered: status, headers and body leave in one segment."""

    def handle(self) -> None:
        with self.server.cloud.connected(self.connection) as self.number:
            super().handle()

    def do_POST(self) -> None:
        operation = (self.headers["x-amz-target"] or "").partition(".")[2]
        length = int(self.headers["content-length"] or 0)
        fault = self.server.cloud.fault(operation) or Fault("")
        if fault.reset_mid_body:
            self.rfile.read(length // 2)
            self._reset()
            return
        self._serve(operation, self.rfile.read(length), fault)

    def _serve(self, operation: str, body: bytes, fault: Fault) -> None:
        status, answer = self._outcome(operation, body, fault)
        if fault.delay and self._hung_up(fault.delay):
            self.close_connection = True
            return
        if fault.cut:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif fault.half_answer:
            self._send(200, answer + b" " * 4096, half=True)
            self._reset()
        else:
            self._send(status, answer, html=fault.html, retry_after=fault.retry_after)

    def _outcome(self, operation: str, body: bytes, fault: Fault) -> tuple[int, bytes]:
        try:
            given = json.loads(body)
            self.server.cloud.check_credentials(self.headers["authorization"])
            if fault.delete:
                self.server.cloud.delete(fault.delete, given)
            status, answer = 200, b"{}"
            if not (fault.status or fault.cut) or fault.stored:
                done = self.server.cloud.answer(operation, given, fault=fault, connection=self.number)
                answer = json.dumps(done).encode()
        except ValueError:
            return 400, _error("SerializationException", "not JSON in UTF-8")
        except rules.Refused as refused:
            return refused.status, _error(refused.code, refused.message)
        if fault.html:
            return fault.status, b"<html><h1>Bad Gateway</h1></html>"
        if fault.status:
            return fault.status, _error(fault.code, fault.message)
        return status, answer

    def _send(
        self,
        status: int,
        body: bytes,
        *,
        half: bool = False,
        html: bool = False,
        retry_after: float | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", "text/html" if html else "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(body)))
        if not html:
            self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        if retry_after is not None:
            self.send_header("retry-after", str(retry_after))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)
        self.wfile.flush()

    def _hung_up(self, seconds: float) -> bool:
        """Wait; True when the caller has closed the connection meanwhile."""
        self.connection.settimeout(seconds)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(None)

    def _reset(self) -> None:
        """Send RST in place of FIN (SO_LINGER of zero seconds)."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _error(code: str, message: str) -> bytes:
    return json.dumps({"__type": code, "message": message}).encode()

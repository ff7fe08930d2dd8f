"""Make calls without pause, each under a name of its own, to an upstream that remembers the names."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "gpt-4o-mini"
CLIENTS = 6
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
REPEAT_SECONDS = 0.05
"""After a connection that could not be made, or broke off."""


class Upstream:
    """Answers each call after a moment, every second one with a stream. A context manager."""

    def __init__(self) -> None:
        self._users: set[str] = set()

        class Handler(_Handler):
            users = self._users

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    def users(self) -> set[str]:
        """Give the names of the calls that came."""
        return set(self._users)

    def __enter__(self) -> Upstream:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: proxies that are killed break their connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    users: set[str]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.users.add(asked["user"])
        time.sleep(random.uniform(0, 0.03))  # noqa: S311 - no secret
        if asked.get("stream"):
            self._stream()
            return
        message = {"role": "assistant", "content": "one two three"}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        body = json.dumps({"id": "chatcmpl-1", "model": MODEL, "choices": choices, "usage": USAGE}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in ("one ", "two ", "three"):
            self._event({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
            time.sleep(random.uniform(0, 0.03))  # noqa: S311 - no secret
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self._event({"choices": [], "usage": USAGE})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, value: dict[str, Any]) -> None:
        whole = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": MODEL, **value}
        self._chunk(b"data: %b\n\n" % json.dumps(whole).encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def log_message(self, *_: object) -> None:
        pass


class Callers:
    """Calls from several threads until it is closed. A context manager."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token
        self._stop = threading.Event()
        self._numbers = itertools.count(1)
        self._threads: Sequence[threading.Thread] = [
            threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)
        ]
        self.answered: set[str] = set()
        """Names of the calls whose whole answer came."""
        self.cut_off = 0
        """Calls whose connection broke."""
        self.refused: Counter[int] = Counter()
        """Statuses of other answers, such as 503 where a busy machine leaves the store no time."""

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._stop.is_set():
            user = f"call-{next(self._numbers)}"
            try:
                self._call(connection, user)
            except (OSError, http.client.HTTPException):
                self.cut_off += 1
                connection.close()
                self._stop.wait(REPEAT_SECONDS)
        connection.close()

    def _call(self, connection: http.client.HTTPConnection, user: str) -> None:
        asked = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "user": user}
        body = json.dumps({**asked, "stream": user[-1] in "02468"})
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            self.refused[answer.status] += 1
        elif answer.headers["content-type"] == "text/event-stream" and b"[DONE]" not in said:
            self.cut_off += 1
        else:
            self.answered.add(user)

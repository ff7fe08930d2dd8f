"""A stand-in for the OpenAI API on this machine, for trying the proxy without an account.

``python -m scripts.standin --port 9000`` serves the answers of :mod:`scripts.standin_answers` on 127.0.0.1.
It checks the key, streams word by word, and sends the headers that clients of the API look at. It is no model
and says so in every answer.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import click

from scripts import standin_answers as answers

KEY = "sk-stand-in-0000-not-a-real-key"
"""The only key the stand-in takes unless told otherwise."""
BODY_LIMIT = 64 * 2**20

Answer = Callable[[dict[str, Any]], dict[str, Any]]
Stream = Callable[[dict[str, Any]], Iterator[str]]

ROUTES: dict[tuple[str, str], tuple[Answer, Stream | None]] = {
    ("GET", "/v1/models"): (answers.models, None),
    ("POST", "/v1/embeddings"): (answers.embeddings, None),
    ("POST", "/v1/completions"): (answers.completion, answers.completion_stream),
    ("POST", "/v1/chat/completions"): (answers.chat, answers.chat_stream),
    ("POST", "/v1/responses"): (answers.response, answers.response_stream),
}


class BadRequest(Exception):
    """The request can't be read; the text says why."""


class StandIn:
    """The server in a thread of its own. Raises OSError when the port is taken."""

    def __init__(self, *, key: str = KEY, port: int = 0, delay: float = 0.02) -> None:
        """`delay`: seconds between two pieces of a stream. Port 0 takes any free port."""
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.key, self._server.delay = key, delay
        self._thread = threading.Thread(target=self._server.serve_forever, name="stand-in", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def base_url(self) -> str:
        """Without the ``/v1``."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> StandIn:
        self._thread.start()
        return self

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(10)
        self._server.server_close()

    def __enter__(self) -> StandIn:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    key: str
    delay: float


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "llmproxy-stand-in", ""
    disable_nagle_algorithm = True
    server: _Server
    started: float

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the proxy's own log and the events tell what happened."""

    def _serve(self) -> None:
        self.started = time.monotonic()
        # The client is free to leave in the middle.
        with contextlib.suppress(ConnectionError):
            try:
                body = self._body()
            except (BadRequest, ValueError) as error:
                self.close_connection = True
                self._refuse(400, f"The body can't be read: {error}", "invalid_request_error", None)
                return
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        path = urlsplit(self.path).path
        if self.headers.get("authorization") != f"Bearer {self.server.key}":
            message = "Incorrect API key provided. This is the stand-in, which takes only its own key."
            self._refuse(401, message, "invalid_request_error", "invalid_api_key")
        elif (route := ROUTES.get((self.command, path))) is None:
            message = f"Invalid URL ({self.command} {path}). The stand-in knows only a few endpoints."
            self._refuse(404, message, "invalid_request_error", "unknown_url")
        else:
            try:
                request = json.loads(body) if body else {}
            except ValueError:
                request = None
            if not isinstance(request, dict):
                self._refuse(400, "The body is not a JSON object.", "invalid_request_error", None)
                return
            plain, streamed = route
            if streamed and request.get("stream"):
                self._stream(streamed(request))
            else:
                self._send(200, plain(request))

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunked_body()
        length = int(self.headers.get("content-length") or 0)
        if length > BODY_LIMIT:
            raise BadRequest(f"{length} bytes are more than {BODY_LIMIT}")
        return self.rfile.read(length)

    def _chunked_body(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(64), 16):
            if len(body) + size > BODY_LIMIT:
                raise BadRequest(f"more than {BODY_LIMIT} bytes")
            body += self.rfile.read(size)
            self.rfile.readline(64)
        self.rfile.readline(64)
        return body

    def _refuse(self, status: int, message: str, kind: str, code: str | None) -> None:
        self._send(status, answers.error(message, kind, code))

    def _send(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self._head(status, "application/json", ("content-length", str(len(body))))
        self.wfile.write(body)

    def _stream(self, events: Iterator[str]) -> None:
        self._head(200, "text/event-stream; charset=utf-8", ("transfer-encoding", "chunked"))
        for event in events:
            data = event.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            time.sleep(self.server.delay)
        self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: int, content_type: str, framing: tuple[str, str]) -> None:
        self.send_response(status)
        headers = {
            "content-type": content_type,
            "x-request-id": f"req_{uuid.uuid4().hex}",
            "openai-organization": "stand-in",
            "openai-processing-ms": str(int((time.monotonic() - self.started) * 1000)),
            "openai-version": "2020-10-01",
            "x-ratelimit-limit-requests": "10000",
            "x-ratelimit-limit-tokens": "200000",
            "x-ratelimit-remaining-requests": "9999",
            "x-ratelimit-remaining-tokens": "199990",
            "x-ratelimit-reset-requests": "8.64s",
            "x-ratelimit-reset-tokens": "3ms",
        }
        for name, value in [*headers.items(), framing]:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()


@click.command()
@click.option("--port", default=9000, show_default=True, help="Port on 127.0.0.1; 0 takes any free one.")
@click.option("--key", default=KEY, show_default=True, help="The key that callers must send.")
@click.option("--delay", default=0.02, show_default=True, help="Seconds between two pieces of a stream.")
def main(port: int, key: str, delay: float) -> None:
    """Serve a stand-in for the OpenAI API on this machine, until Ctrl-C."""
    try:
        server = StandIn(key=key, port=port, delay=delay)
    except OSError as error:
        raise click.ClickException(f"port {port}: {error.strerror}; choose another with --port.") from error
    with server:
        click.echo(f"stand-in for the OpenAI API at {server.base_url}/v1, key {key}; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()

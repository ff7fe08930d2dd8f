"""Stand in for the OpenAI API on this machine, for trying the proxy without an account.

``python -m scripts.quickstart.standin --port 9000`` serves the answers of
:mod:`scripts.quickstart.standin_answers` on 127.0.0.1. It checks the key, streams word by word, and sends
the headers that clients of the API look at. It is no model and says so in every answer. Bad days come by the
name of the model: :mod:`scripts.quickstart.standin_troubles`.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import click
import multipart

from scripts.quickstart import standin_answers as answers
from scripts.quickstart import standin_sockets as sockets
from scripts.quickstart import standin_troubles as troubles
from scripts.quickstart.standin_objects import Objects
from store.core.urls import split_url

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
    ("POST", "/v1/moderations"): (answers.moderation, None),
    ("POST", "/v1/images/generations"): (answers.image, None),
    ("POST", "/v1/images/edits"): (answers.image, None),
    ("POST", "/v1/audio/transcriptions"): (answers.transcription, None),
    ("POST", "/v1/audio/translations"): (answers.transcription, None),
}
REALTIME = "/v1/realtime"
SOCKETS = frozenset({REALTIME, "/v1/responses"})
OBJECT = re.compile(r"/v1/(files|batches)(?:/([\w-]+)(/content)?)?")


class Upload(NamedTuple):
    """Holds a file in a form."""

    name: str
    content: bytes


class BadRequest(Exception):
    """The request can't be read; the text says why."""


class StandIn:
    """Runs the server in a thread of its own. Raises OSError when the port is taken."""

    def __init__(self, *, key: str = KEY, port: int = 0, delay: float = 0.02) -> None:
        """Take as `delay` the seconds between two pieces of a stream. Port 0 takes any free port."""
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.key, self._server.delay = key, delay
        self._server.objects, self._server.lock = Objects(), threading.Lock()
        self._thread = threading.Thread(target=self._server.serve_forever, name="stand-in", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def base_url(self) -> str:
        """Give the URL without the ``/v1``."""
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
    objects: Objects
    lock: threading.Lock


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

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the proxy's own log and the events tell what happened."""

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
        path = split_url(self.path).path
        is_socket = self.command == "GET" and self.headers.get("upgrade", "").lower() == "websocket"
        shown = self.headers.get("authorization", "").removeprefix("Bearer ")
        offered = sockets.offered_key(self.headers.get("sec-websocket-protocol", "")) if is_socket else shown
        if self.server.key not in (shown, offered):
            message = "Incorrect API key provided. This is the stand-in, which takes only its own key."
            self._refuse(401, message, "invalid_request_error", "invalid_api_key")
            return
        if is_socket and path in SOCKETS:
            self._open_socket(path)
            return
        try:
            request = self._request(body)
        except (ValueError, BadRequest):
            self._refuse(400, "The body is not a JSON object.", "invalid_request_error", None)
            return
        if found := OBJECT.fullmatch(path):
            self._object(found[1], found[2], content=bool(found[3]), request=request)
        elif (self.command, path) == ("POST", "/v1/audio/speech"):
            self._send_bytes(200, "audio/wav", answers.speech())
        elif (route := ROUTES.get((self.command, path))) is None:
            message = f"Invalid URL ({self.command} {path}). The stand-in knows only a few endpoints."
            self._refuse(404, message, "invalid_request_error", "unknown_url")
        else:
            self._call(*route, request)

    def _call(self, plain: Answer, streamed: Stream | None, request: dict[str, Any]) -> None:
        """Answer a call as the day is that its model names."""
        try:
            trouble, other = troubles.of_model(request.get("model"))
        except KeyError:
            self._refuse(404, troubles.unknown(), "invalid_request_error", "model_not_found")
            return
        if other:
            request["model"] = other
        if trouble.error:
            self._send(trouble.status, answers.error(*trouble.error), trouble.headers)
        elif trouble.page:
            self._send_bytes(200, "text/html; charset=utf-8", troubles.page())
        elif streamed and request.get("stream"):
            self._stream(trouble.pieces(streamed(request)))
        else:
            self._send(200, trouble.answer(plain(request)), cut=trouble.cut)

    def _open_socket(self, path: str) -> None:
        """Hold a WebSocket until either side ends it; the model of a realtime session is in its address."""
        self.close_connection = True
        trouble, model = troubles.NONE, ""
        if path == REALTIME:
            model = parse_qs(split_url(self.path).query).get("model", ["gpt-realtime"])[0]
            try:
                trouble, other = troubles.of_model(model)
            except KeyError:
                self._refuse(404, troubles.unknown(), "invalid_request_error", "model_not_found")
                return
            model = other or model
        if trouble.error:
            self._send(trouble.status, answers.error(*trouble.error), trouble.headers)
            return
        if trouble.page:
            self._send_bytes(200, "text/html; charset=utf-8", troubles.page())
            return
        socket = sockets.Socket(self.rfile, self.wfile.write, self.headers.items(), self.path)
        if not socket.accept({"x-request-id": f"req_{uuid.uuid4().hex}"}.items()):
            self._refuse(400, "This is no WebSocket handshake.", "invalid_request_error", None)
            return
        with contextlib.suppress(troubles.Cut):
            if path == REALTIME:
                sockets.serve_realtime(socket, model, trouble, self.server.delay)
            else:
                sockets.serve_responses(socket, self.server.delay)

    def _object(self, kind: str, name: str | None, *, content: bool, request: dict[str, Any]) -> None:
        """Answer a call about files or batches."""
        with self.server.lock:
            found = self._found(kind, name, content=content, request=request)
        if found is None:
            self._refuse(404, f"No such {kind.rstrip('es')} object: {name}", "invalid_request_error", None)
        elif isinstance(found, bytes):
            self._send_bytes(200, "application/octet-stream", found)
        else:
            self._send(200, found)

    def _found(
        self, kind: str, name: str | None, *, content: bool, request: dict[str, Any]
    ) -> dict[str, Any] | bytes | None:
        objects = self.server.objects
        match (self.command, kind, name):
            case ("POST", "files", None):
                file = request.get("file")
                if not isinstance(file, Upload):
                    return None
                return objects.add_file(file.name, file.content, str(request.get("purpose", "user_data")))
            case ("GET", "files", None):
                return objects.list_files()
            case ("GET", "files", str(name)):
                return objects.content(name) if content else objects.file(name)
            case ("DELETE", "files", str(name)):
                return objects.delete_file(name)
            case ("POST", "batches", None):
                return objects.add_batch(request)
            case ("GET", "batches", None):
                return objects.list_batches()
            case ("GET", "batches", str(name)):
                return objects.batch(name, lambda path, body: ROUTES["POST", path][0](body))
        return None

    def _request(self, body: bytes) -> dict[str, Any]:
        """Read a body of JSON, or a form. Raises ValueError, BadRequest."""
        kind, options = multipart.parse_options_header(self.headers.get("content-type", ""))
        if kind != "multipart/form-data":
            request = json.loads(body) if body else {}
            if not isinstance(request, dict):
                raise BadRequest("no object")
            return request
        fields: dict[str, Any] = {}
        try:
            for part in multipart.MultipartParser(io.BytesIO(body), options.get("boundary", "")):
                fields[part.name] = Upload(part.filename, part.raw) if part.filename else part.value
        except multipart.MultipartError as error:
            raise BadRequest(str(error)) from error
        return fields

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

    def _send(
        self, status: int, value: dict[str, Any], more: Mapping[str, str] | None = None, *, cut: bool = False
    ) -> None:
        self._send_bytes(status, "application/json", json.dumps(value).encode(), more, cut=cut)

    def _send_bytes(
        self, status: int, kind: str, body: bytes, more: Mapping[str, str] | None = None, *, cut: bool = False
    ) -> None:
        """Send an answer in one piece; with `cut` half of it, and the end of the connection."""
        self._head(status, kind, ("content-length", str(len(body))), more)
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection |= cut

    def _stream(self, events: Iterator[str]) -> None:
        self._head(200, "text/event-stream; charset=utf-8", ("transfer-encoding", "chunked"))
        try:
            for event in events:
                data = event.encode()
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                time.sleep(self.server.delay)
        except troubles.Cut:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _head(
        self, status: int, content_type: str, framing: tuple[str, str], more: Mapping[str, str] | None = None
    ) -> None:
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
            **(more or {}),
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

"""No client waits for ever, and no call stays open, where mitmproxy itself fails."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.conftest import CHAT, Running
from tests.live.harness import SCRIPT, Proxy, wait_for

BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}).encode()
CRASHING = Path(__file__).parent / "holes" / "crashing.py"


@contextmanager
def raw_upstream(answer: bytes) -> Iterator[str]:
    """A server that says these bytes to each request, over and over; yields its URL."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            length = 0
            while line := self.rfile.readline():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
                elif line == b"\r\n":
                    self.rfile.read(length)
                    self.wfile.write(answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()


TRAILED = json.dumps(CHAT).encode()
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    b"transfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n"
    b"%x\r\n%b\r\n0\r\nx-sum: 1\r\n\r\n" % (len(TRAILED), TRAILED)
)


@pytest.fixture(scope="module")
def running(start_shared: Callable[..., Running]) -> Iterator[Running]:
    with raw_upstream(ANSWER) as url:
        running = start_shared(upstream_url=url, scripts=(SCRIPT, CRASHING))
        yield running
        print(running.proxy.output)  # shown where a test fails


def exchange(proxy: Proxy, token: str, *, path: str = "/v1/chat/completions", trailers: bool = True) -> bytes:
    """Send one request whose body is chunked, with or without trailers; all that comes within 30 s."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
    head += "content-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    body = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(BODY), BODY, b"x-sum: 2\r\n" if trailers else b"")
    with socket.create_connection(("127.0.0.2", proxy.reverse_port), 30) as client:
        client.sendall(head.encode() + body)
        found = b""
        while piece := client.recv(65536):
            found += piece
    return found


def open_calls(proxy: Proxy) -> int:
    (status,) = (proxy.spool / "status").glob("*.json")
    return int(json.loads(status.read_text())["open_calls"])


def test_trailers_of_request_and_answer(running: Running) -> None:
    found = exchange(running.proxy, running.token)
    assert found.startswith(b"HTTP/1.1 200")
    assert b"one two three" in found
    assert found.endswith(b"0\r\n\r\n"), "no trailers"
    call = running.events(1)[0]
    assert (call["outcome"], call["usage"]["total_tokens"]) == ("ok", 14)


def test_trailers_of_requests_without_a_token(running: Running) -> None:
    for _ in range(20):
        assert exchange(running.proxy, "llmp-unknown").startswith(b"HTTP/1.1 401")
    assert {call["outcome"] for call in running.events(20)} == {"refused"}


def test_a_connection_on_which_mitmproxy_fails_is_closed(running: Running) -> None:
    """A script's fault is enough; without the remedy the client waits until it gives up by itself."""
    found = exchange(running.proxy, running.token, path="/v1/chat/completions?crash=1", trailers=False)
    assert b"one two three" not in found
    wait_for(lambda: "mitmproxy has crashed!" in running.proxy.output, "mitmproxy's own word of it")
    call = running.events(1)[0]
    assert call["outcome"] in ("client_aborted", "upstream_aborted")
    wait_for(lambda: open_calls(running.proxy) == 0, "no call is open", 30)

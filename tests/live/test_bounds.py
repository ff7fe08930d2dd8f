"""Clients without a token hold nothing that others need."""

from __future__ import annotations

import contextlib
import socket

from addons.mitm.trim import HANGING_BYTES
from tests.live.clients import CHAT_URL, HELLO, authorised, chat, http, sdk
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Upstream


def open_to(proxy: Proxy, count: int, first: bytes = b"") -> list[socket.socket]:
    """Connections that send `first`, and nothing more."""
    opened = []
    for _ in range(count):
        raw = socket.create_connection(("127.0.0.2", proxy.reverse_port), 30)
        raw.sendall(first)
        opened.append(raw)
    return opened


def is_closed(raw: socket.socket) -> bool:
    raw.setblocking(False)
    try:
        return raw.recv(65536) == b"" or is_closed(raw)
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_idle_connections_of_one_client_leave_the_proxy_serving(
    start_proxy: StartProxy, tenant: Tenant
) -> None:
    """More than the open files that a process gets by default."""
    proxy = start_proxy("llm_head_timeout=5")
    _, token = tenant.token()
    idle: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        for first in (b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"):
            idle += [stack.enter_context(raw) for raw in open_to(proxy, 550, first)]
        assert chat(sdk(proxy, token)).choices
        wait_for(lambda: all(map(is_closed, idle)), "half-sent requests to be closed", 60)
    wait_for(lambda: proxy.process.num_fds() < 200, "their files to be closed", 30)
    assert chat(sdk(proxy, token)).choices


def head(token: str, length: int, *more: str) -> bytes:
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: a", f"Authorization: Bearer {token}", *more]
    return "\r\n".join(
        [*lines, "Content-Type: application/json", f"Content-Length: {length}", "", ""]
    ).encode()


def test_what_is_too_large_or_not_wanted_is_refused_before_it_is_sent(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    proxy = start_proxy("llm_head_limit=2000", "llm_body_limit=5000")
    _, token = tenant.token()
    expect = "Expect: 100-continue"
    for sent, status in (
        (head("sk-unknown", 10**6, expect), b"401"),
        (head(token, 10**6, expect), b"413"),
        (head(token, 10, f"X-Long: {'x' * 2000}"), b"431"),
        (head(token, 2, expect), b"100"),
    ):
        with socket.create_connection(("127.0.0.2", proxy.reverse_port), 30) as raw:
            raw.sendall(sent)
            assert raw.recv(65536).split()[1] == status
            if status != b"100":
                while raw.recv(65536):
                    pass  # the rest of the answer; then the connection is closed, though nothing was uploaded
    with http(proxy) as client:
        answer = client.post(CHAT_URL, headers=authorised(token), content=iter([b"x" * 3000] * 3))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert upstream.requests == []


def test_calls_of_one_http2_connection_are_forgotten(start_proxy: StartProxy, tenant: Tenant) -> None:
    """The upstream speaks HTTP/1.1, so that each call has a connection of its own there."""
    proxy = start_proxy("llm_capture=none")
    headers = authorised(tenant.token()[1])
    body = {"model": "gpt-4o-mini", "messages": HELLO, "metadata": {"padding": "x" * 200_000}}
    with http(proxy, http2=True) as client:

        def calls(count: int) -> int:
            for _ in range(count):
                assert client.post(CHAT_URL, headers=headers, json=body).status_code == 200
            return proxy.rss()

        before = calls(2 * HANGING_BYTES // 200_000)  # once the collector has looked
        grown = (calls(200) - before) / 200
    assert grown < 100_000, f"{grown:.0f} bytes a call of 200,000"

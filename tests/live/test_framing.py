"""A request is one request, for upstream as for the gate."""

from __future__ import annotations

import json
import socket

from tests.live.clients import CHAT_URL, HELLO, authorised, http
from tests.live.conftest import Tenant
from tests.live.harness import Proxy
from tests.live.upstream import Upstream

BODY = json.dumps({"model": "gpt-4o-mini", "messages": HELLO}).encode()


def test_an_http2_body_without_a_length_is_no_request_of_its_own(
    proxy: Proxy, tenant: Tenant, upstream: Upstream
) -> None:
    """The upstream speaks HTTP/1.1: unframed, it would take the body for the head of the next request."""
    _, token = tenant.token()
    headers = {**authorised(token), "content-type": "application/json"}
    with http(proxy, http2=True) as client:
        for _ in range(2):
            answer = client.post(CHAT_URL, headers=headers, content=iter([BODY[:9], BODY[9:]]))
            assert answer.http_version == "HTTP/2"
            assert answer.status_code == 200
    assert [seen.body for seen in upstream.requests] == [BODY, BODY]
    assert [seen.header("content-length") for seen in upstream.requests] == [str(len(BODY))] * 2


def test_heads_that_could_be_read_in_two_ways_go_nowhere(
    proxy: Proxy, tenant: Tenant, upstream: Upstream
) -> None:
    _, token = tenant.token()
    headers = (
        b"X-A: one\rTransfer-Encoding: chunked",
        b"X-A: one\x00",
        b"X-A: one\r\n two",
        b"Transfer_Encoding: x",
    )
    for header in headers:
        with socket.create_connection(("127.0.0.2", proxy.reverse_port), 30) as raw:
            raw.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nContent-Type: application/json\r\n"
                b"Authorization: Bearer %s\r\n%s\r\nContent-Length: %d\r\n\r\n%s"
                % (token.encode(), header, len(BODY), BODY)
            )
            assert raw.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert upstream.requests == []
    assert {call["error"]["code"] for call in proxy.wait_calls(len(headers))} == {"malformed_request"}

from __future__ import annotations

import pytest
from mitmproxy import http
from mitmproxy.connection import Server

from addons.flow.network.framing import framed, malformed


def request(method: str = "POST", content: bytes | None = b"{}", version: str = "HTTP/1.1") -> http.Request:
    made = http.Request.make(method, "https://api.openai.com/v1/chat/completions", content or b"")
    made.http_version = version
    made.headers.pop("content-length", None)
    made.data.content = content
    return made


def with_field(name: bytes, value: bytes) -> http.Request:
    made = request()
    made.headers = http.Headers([(b"Host", b"api.openai.com"), (name, value)])
    return made


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-a", b"one\rtwo"),
        (b"x-a", b"one\ntwo"),
        (b"x-a", b"one\x00two"),
        (b"x-a", b"one\x7ftwo"),
        (b"x-a", b"one\r\n two"),
        (b"x-a\rb", b"one"),
        (b"x a", b"one"),
        (b"", b"one"),
        (b"transfer_encoding", b"chunked"),
        (b"Transfer_Encoding", b"chunked"),
        (b"content_length", b"0"),
        (b"content.length", b"0"),
        (b"connection", b"close, authorization"),
        (b"Connection", b"content-length"),
    ],
)
def test_headers_that_could_be_read_in_two_ways(name: bytes, value: bytes) -> None:
    assert malformed(with_field(name, value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-a", b"one\ttwo"),
        (b"x-a", "Zo\u00eb".encode()),
        (b"x_a", b""),
        (b"connection", b"keep-alive, Upgrade"),
        (b"connection", b""),
        (b"content-length", b"2"),
    ],
)
def test_headers_that_pass(name: bytes, value: bytes) -> None:
    assert malformed(with_field(name, value)) is None


@pytest.mark.parametrize("target", [b"/v1 HTTP/1.1", b"/v1\r\nx: y", b"/v1\x00", b"/v1\t", b"/v1\x7f"])
def test_targets_that_could_be_read_in_two_ways(target: bytes) -> None:
    """HTTP/2 carries them as they are; over HTTP/1 they would be a request line and more."""
    made = request(version="HTTP/2.0")
    made.data.path = target
    assert malformed(made)
    made = request(version="HTTP/2.0")
    made.data.authority = target
    assert malformed(made)
    made = request(version="HTTP/2.0")
    made.data.method = target
    assert malformed(made)


def upstream(alpn: bytes | None) -> Server:
    server = Server(address=("api.openai.com", 443))
    server.alpn = alpn
    return server


def framing(head: http.Request) -> dict[str, str]:
    return {
        name.lower(): value
        for name, value in head.headers.items(multi=True)
        if name.lower() in ("content-length", "transfer-encoding")
    }


@pytest.mark.parametrize("alpn", [None, b"", b"http/1.1"])
def test_a_body_from_http2_gets_a_length(alpn: bytes | None) -> None:
    sent = request(version="HTTP/2.0")
    head = framed(sent, upstream(alpn), ends=False)
    assert framing(head) == {"content-length": "2"}
    assert framing(sent) == {}, "the flow is not changed"
    assert framed(sent, upstream(b"h2"), ends=False) is sent


def test_a_body_that_is_passed_on_as_it_comes_is_chunked() -> None:
    sent = request(content=None, version="HTTP/2.0")
    sent.stream = True
    assert framing(framed(sent, upstream(None), ends=False)) == {"transfer-encoding": "chunked"}
    sent.headers["content-length"] = "7"
    assert framed(sent, upstream(None), ends=False) is sent


def test_no_body_has_no_length_but_where_one_is_expected() -> None:
    assert framing(framed(request("GET", b"", "HTTP/2.0"), upstream(None), ends=True)) == {}
    assert framing(framed(request("POST", b"", "HTTP/2.0"), upstream(None), ends=True)) == {
        "content-length": "0"
    }


def test_what_contradicts_the_body_is_put_right() -> None:
    sent = request()
    sent.headers["content-length"] = "50"
    assert framing(framed(sent, upstream(None), ends=False)) == {"content-length": "2"}
    sent.headers["transfer-encoding"] = "chunked"
    assert framing(framed(sent, upstream(None), ends=False)) == {"transfer-encoding": "chunked"}
    ended = request("GET", b"")
    ended.headers["content-length"] = "50"
    assert framing(framed(ended, upstream(None), ends=True)) == {"content-length": "0"}

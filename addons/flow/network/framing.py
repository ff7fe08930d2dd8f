"""Judge where a request ends and what its head holds: one meaning for everyone on its way.

A byte that one reader takes for the end of a header and another for part of it makes one request two
(request smuggling, RFC 9112 section 11.2), and the second one is checked by nobody.
"""

from __future__ import annotations

import copy
import re
from functools import lru_cache

from mitmproxy import http
from mitmproxy.connection import Connection

METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
TARGET = re.compile(rb"[^\x00-\x20\x7f]*")
VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
"""It is that of a header: no control characters but the tab. A folded value holds a line's end, which none
may."""
FRAMING = frozenset({"content-length", "transfer-encoding", "host", "connection", "upgrade", "expect"})
CONNECTION = re.compile(rb"[\s,]*((close|keep-alive|te|upgrade|http2-settings)[\s,]*)*", re.IGNORECASE)
"""Any other header that it named would be taken out on the way, after the checks (RFC 9110 section 7.6.1)."""
LONGEST_REMEMBERED = 64
"""Bytes of a header's name; what was found about a longer one is not remembered."""
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def plain_name(name: str) -> str:
    """Return a header's or a query field's name as a lax reader may take it: ``Api_Key`` for ``api-key``.

    >>> plain_name("Api_Key"), plain_name("transfer.encoding")
    ('api-key', 'transfer-encoding')
    """
    return re.sub(r"[^a-z0-9]", "-", name.lower())


def malformed(request: http.Request) -> str | None:
    """Say what in the head of `request` could be read in two ways, or None."""
    data = request.data
    if not METHOD.fullmatch(data.method):
        return "the method holds characters that no method has"
    if not (TARGET.fullmatch(data.path) and TARGET.fullmatch(data.authority)):
        return "the target holds blanks or control characters"
    for name, value in data.headers.fields:
        if (why := _malformed_name(name)) is not None:
            return why
        if not VALUE.fullmatch(value):
            shown = name.decode("ascii", "backslashreplace")
            return f"the header {shown} holds control characters or is folded over lines"
        if name.lower() == b"connection" and not CONNECTION.fullmatch(value):
            return "the header connection names others than close, keep-alive, te and upgrade"
    return None


def _malformed_name(name: bytes) -> str | None:
    """Say what in the name of a header could be read in two ways, or None. The usual names are remembered."""
    judge = _judge_name if len(name) <= LONGEST_REMEMBERED else _judge_name.__wrapped__
    return judge(name)


@lru_cache(maxsize=512)
def _judge_name(name: bytes) -> str | None:
    shown = name.decode("ascii", "backslashreplace")
    if not METHOD.fullmatch(name):
        return "the name of a header holds characters that no name has"
    plain = plain_name(shown)
    if plain in FRAMING and shown.lower() != plain:
        return f"the header {shown} could be taken for {plain}"
    return None


def framed(request: http.Request, connection: Connection, *, ends: bool) -> http.Request:
    """Return a head that says where the body ends, in one way only, or `request` itself where it does.

    A request that came by HTTP/2 needs no such header; over HTTP/1 its body would be a request of its own.
    `ends` is whether no body follows the head.
    """
    if connection.alpn == b"h2" or connection.transport_protocol != "tcp":
        return request
    wanted = _body_headers(request, ends=ends)
    given = [
        (name.lower(), value)
        for name, value in request.data.headers.fields
        if name.lower() in (b"content-length", b"transfer-encoding")
    ]
    if given == wanted:
        return request
    head = copy_of_head(request)
    for name in ("content-length", "transfer-encoding"):
        head.headers.pop(name, None)
    for field, value in wanted:
        head.headers[field.decode()] = value.decode()
    return head


def copy_of_head(request: http.Request) -> http.Request:
    """Return a request whose headers may be changed without changing those of `request`."""
    head = copy.copy(request)
    head.data = copy.copy(request.data)
    head.data.headers = request.headers.copy()
    return head


def _body_headers(request: http.Request, *, ends: bool) -> list[tuple[bytes, bytes]]:
    """Give the one header that frames the body of `request`, or none."""
    headers = request.headers
    if "transfer-encoding" in headers and request.is_http11:
        return [(b"transfer-encoding", headers["transfer-encoding"].encode())]
    if ends:
        counted = request.method in WITH_BODY or "content-length" in headers
        return [(b"content-length", b"0")] if counted else []
    if request.raw_content is not None and not request.stream:
        return [(b"content-length", str(len(request.raw_content)).encode())]
    if "content-length" in headers:
        return [(b"content-length", headers["content-length"].encode())]
    return [(b"transfer-encoding", b"chunked")]

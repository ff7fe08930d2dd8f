"""Tell the opening handshake of a WebSocket (RFC 6455 section 4.1) from all other upgrades."""

from __future__ import annotations

import base64
import binascii

from mitmproxy import http

KEY_BYTES = 16


def asks_for_upgrade(request: http.Request) -> bool:
    """Check whether `request` asks for another protocol, of any kind."""
    return "upgrade" in request.headers


def is_handshake(request: http.Request) -> bool:
    """Check whether `request` is a handshake to every server that reads it.

    A session is reserved answer by answer, so nothing may be taken for one that a server answers as a call.
    """
    if request.method != "GET":
        return False
    headers = request.headers
    options = headers.get("connection", "").lower().split(",")
    return (
        request.http_version == "HTTP/1.1"
        and "upgrade" in (option.strip() for option in options)
        and headers.get("upgrade", "").strip().lower() == "websocket"
        and headers.get("sec-websocket-version", "").strip() == "13"
        and _is_key(headers.get("sec-websocket-key", "").strip())
        and "transfer-encoding" not in headers
        and headers.get("content-length", "0").strip() == "0"
    )


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False

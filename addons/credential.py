"""The client's own credential: where it may stand, and its removal from the request."""

from __future__ import annotations

from mitmproxy import http

from store.secret import Secret

SUBPROTOCOL = "openai-insecure-api-key."
"""Browsers cannot set headers on a WebSocket; OpenAI reads the key from a subprotocol of this form."""

# Headers that carry a credential, or steer whose account is billed, and so never go upstream.
REMOVED = (
    "authorization",
    "api-key",
    "x-api-key",
    "openai-organization",
    "openai-project",
    "proxy-authorization",
    "cookie",
)
REMOVED_SUBPROTOCOLS = (SUBPROTOCOL, "openai-organization.", "openai-project.")
REMOVED_QUERY = ("api-key", "api_key", "key", "access_token")


def presented(request: http.Request) -> Secret | None:
    """The token that the client sent, or None.

    In this order: ``Authorization: Bearer``, ``api-key`` (Azure), the WebSocket subprotocol.
    A second, different credential beside the first is ignored, and removed with it.
    """
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return Secret(value.strip())
    if key := request.headers.get("api-key", "").strip():
        return Secret(key)
    for protocol in _subprotocols(request.headers):
        if protocol.startswith(SUBPROTOCOL):
            return Secret(protocol.removeprefix(SUBPROTOCOL))
    return None


def remove(request: http.Request, shown_as: str) -> None:
    """Take every credential of the client out of `request`; `shown_as` is what onlookers see instead."""
    for name in REMOVED:
        request.headers.pop(name, None)
    request.headers["authorization"] = f"Bearer {shown_as}"
    remove_subprotocols(request.headers)
    if any(name in request.query for name in REMOVED_QUERY):
        for name in REMOVED_QUERY:
            request.query.pop(name, None)


def remove_subprotocols(headers: http.Headers) -> None:
    """Take out those that hold a credential, or say whose account is billed; of a request or an answer."""
    if protocols := _subprotocols(headers):
        kept = [p for p in protocols if not p.startswith(REMOVED_SUBPROTOCOLS)]
        headers.pop("sec-websocket-protocol")
        if kept:
            headers["sec-websocket-protocol"] = ", ".join(kept)


def _subprotocols(headers: http.Headers) -> list[str]:
    value = ",".join(headers.get_all("sec-websocket-protocol"))
    return [protocol.strip() for protocol in value.split(",") if protocol.strip()]

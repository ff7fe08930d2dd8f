"""Find the client's own credential, wherever it may stand, and remove it from the request."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_plus

from mitmproxy import http

from addons.flow.network.framing import LONGEST_REMEMBERED, plain_name
from store.core.secret import Secret

SUBPROTOCOL = "openai-insecure-api-key."
"""Browsers cannot set headers on a WebSocket; OpenAI reads the key from a subprotocol of this form."""

CREDENTIALS = frozenset(
    {
        "authorization",
        "api-key",
        "x-api-key",
        "openai-organization",
        "openai-project",
        "ocp-apim-subscription-key",
        "proxy-authorization",
        "cookie",
    }
)
"""Headers that carry a credential, or steer whose account is billed."""
STEERING = re.compile(
    r"x-http-method(-override)?|x-method(-override)?"
    r"|x-(original|rewrite|override)-(url|uri|path|host|method)|x-rewrite|x-host|x-http-host-override"
    r"|forwarded|x-forwarded(-.*)?|x-real-ip|(x-)?(true-)?client-ip|x-cluster-client-ip"
    r"|x-(originating|remote)-(ip|addr)|(wl-|x-)?proxy(-client|user)-ip"
    r"|(cf|fastly)-(connecting|client)-ip|x-azure-(client|socket)ip|x-envoy-.*"
)
"""Headers by which some servers take the request for another: its method, its path, its host, its client."""
REMOVED_SUBPROTOCOLS = (SUBPROTOCOL, "openai-organization.", "openai-project.")
REMOVED_QUERY = CREDENTIALS | {"key", "access-token", "subscription-key", "-method"}


def presented(request: http.Request) -> Secret | None:
    """Give the token that the client sent, or None.

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


def is_credential(header: str) -> bool:
    """Tell whether a header of this name carries a credential, or says whose account is billed."""
    return plain_name(header) in CREDENTIALS


def remove(request: http.Request, shown_as: str) -> None:
    """Take every credential of the client out of `request`; `shown_as` is what onlookers see instead."""
    fields = request.headers.fields
    request.headers.fields = tuple(one for one in fields if not _must_go(one[0]))
    request.headers["authorization"] = f"Bearer {shown_as}"
    remove_subprotocols(request.headers)
    request.path = _without_credentials(request.path)


def _must_go(name: bytes) -> bool:
    """Tell whether a header is taken out of a request. The usual names are remembered."""
    judge = _judge_name if len(name) <= LONGEST_REMEMBERED else _judge_name.__wrapped__
    return judge(name)


@lru_cache(maxsize=512)
def _judge_name(name: bytes) -> bool:
    text = name.decode("utf-8", "surrogateescape")
    # Underscores are the same to servers that hand headers on as variables (CGI, WSGI).
    plain = plain_name(text)
    twin = plain == "sec-websocket-protocol" != text.lower()
    return is_credential(text) or STEERING.fullmatch(plain) is not None or twin


def _without_credentials(target: str) -> str:
    """Cut the fields of :data:`REMOVED_QUERY` out of a request's target; the rest stays as it is."""
    path, mark, query = target.partition("?")
    if not query:
        return target
    kept = "".join(
        piece
        for piece in re.findall(r"[^&;]*[&;]?", query)
        if plain_name(unquote_plus(piece.partition("=")[0])).rstrip("-") not in REMOVED_QUERY
    )
    if kept == query:
        return target
    kept = kept.rstrip("&;")
    return f"{path}{mark}{kept}" if kept else path


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

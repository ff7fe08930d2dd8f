"""Carry the real key from the store to the upstream connection, and nowhere else.

The key never enters the flow: mitmweb, ``-w`` files, other scripts and the log see the request as the gate
left it, with a placeholder. It is added to a copy of the request head when that head is handed to the
upstream connection, and only if that connection is the one the gate authorised: same address, TLS up, same
server name. Whatever another addon did to the flow in between, the key cannot go anywhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from mitmproxy import http
from mitmproxy.connection import Connection, Server

from addons.flow.network.destination import Upstream
from addons.flow.network.framing import copy_of_head, framed
from store.core.secret import Secret

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Injection:
    """Says what is added to one request, and for which upstream."""

    key: Secret
    upstream: Upstream
    bearer: bool
    """It tells whether it goes as a bearer token, whatever the upstream's own keys go as."""


_pending: WeakKeyDictionary[http.Request, Injection] = WeakKeyDictionary()
_before_sending: WeakKeyDictionary[http.Request, Callable[[], None]] = WeakKeyDictionary()


def inject(request: http.Request, key: Secret, upstream: Upstream, *, bearer: bool = False) -> None:
    """Have `key` added to `request` when its head goes out to `upstream`."""
    _pending[request] = Injection(key, upstream, bearer)


def forget(request: http.Request) -> None:
    """Undo :func:`inject`."""
    _pending.pop(request, None)


def before_sending(request: http.Request, run: Callable[[], None]) -> None:
    """Have `run`, which must not raise, called at the moment the head of `request` goes upstream."""
    _before_sending[request] = run


def outgoing_head(request: http.Request, connection: Connection, ends: bool) -> http.Request:
    """Return the request head to put on the wire: with the key where one is due, and framed in one way."""
    if run := _before_sending.pop(request, None):
        run()
    return framed(with_key(request, connection), connection, ends=ends)


def with_key(request: http.Request, connection: Connection) -> http.Request:
    """Return a copy of the request head with the key, or `request` itself where none is due."""
    injection = _pending.pop(request, None)
    if injection is None:
        return request
    if not reaches(connection, injection.upstream):
        logger.error(
            "llmproxy: the connection to %s is not the authorised upstream %s; no key was sent",
            getattr(connection, "address", None),
            injection.upstream,
        )
        return request
    sent = copy_of_head(request)
    header, value = "authorization", f"Bearer {injection.key.reveal()}"
    if not injection.bearer:
        header, value = injection.upstream.credential(injection.key)
    sent.headers.pop("authorization", None)
    sent.headers[header] = value
    return sent


def reaches(connection: Connection, upstream: Upstream) -> bool:
    """Tell whether `connection` is an established one to `upstream`, under its own verified name."""
    if not isinstance(connection, Server) or connection.address is None:
        return False
    host, port = connection.address[:2]
    if (host.lower(), port) != (upstream.host, upstream.port):
        return False
    if not upstream.tls:
        return not connection.tls
    return connection.tls_established and (connection.sni or host).lower() == upstream.host

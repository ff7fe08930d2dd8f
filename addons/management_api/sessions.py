"""Keep sessions of the page (:mod:`addons.management_page`): a credential once, and then a cookie.

A session is the credential, kept beside a random name that the browser has. So each request is judged anew by
it: a management token that is revoked, or an ID token that ends, ends its sessions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from tornado.httputil import HTTPServerRequest

from addons.management_api.oidc.code_flow import Pending
from addons.management_api.sealed_files import SealedFiles

HEADER, WORD = "X-LLMProxy-Page", "1"
"""Without it no cookie is looked at. No other site can have a browser send it: that takes a preflight, to
which the API says no."""
COOKIE = "llmproxy_session"
LONGEST = 12 * 3600.0
"""Seconds, whatever happens."""
IDLE = 3600.0
"""Seconds without a request."""
FOLDER = "sessions"
"""In the spool."""
MOST = 1000
"""At the same time; beyond them those end that were used least lately."""

SIGN_IN_COOKIE = "llmproxy_sign_in"
SIGN_IN_SECONDS = 600.0
"""That people have at the issuer."""
SIGN_IN_FOLDER = "sign_ins"


@dataclass(frozen=True, slots=True)
class Session:
    """Says by what somebody is signed in."""

    text: str
    """It is the text of a management token or an ID token."""
    page: str | None = None
    """URL of the page that got an ID token; None for a management token."""

    @property
    def is_of_issuer(self) -> bool:
        return self.page is not None


class Sessions:
    """Keeps all sessions of the proxies on a spool. Methods do disk I/O: not for the event loop."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._files = SealedFiles(folder, IDLE, MOST, clock)
        self._clock = clock

    def begin(self, session: Session, ends: float | None = None) -> str:
        """Open a session with a credential that is good; returns its name. `ends`: at the latest then.

        Raises StoreUnavailable.
        """
        return self._files.put({"token": session.text, "page": session.page, "ends": ends})

    def find(self, name: str) -> Session | None:
        """Return a session; None where there is none, or no longer."""
        found, now = self._files.get(name), self._clock()
        if found is None:
            return None
        ends = found.content.get("ends")
        if now - found.began >= LONGEST or (ends is not None and now >= ends):
            self._files.remove(name)
            return None
        return Session(str(found.content["token"]), found.content.get("page"))

    def end(self, name: str) -> None:
        """Let go of a session, if it is there."""
        self._files.remove(name)


class SignIns:
    """Keeps the sign-ins that are at an issuer at this moment. Methods do disk I/O."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._files = SealedFiles(folder, SIGN_IN_SECONDS, MOST, clock)
        self._clock = clock

    def begin(self, pending: Pending) -> str:
        """Remember a sign-in; returns its name. Raises StoreUnavailable."""
        return self._files.put({name: getattr(pending, name) for name in Pending.__slots__})

    def take(self, name: str) -> Pending | None:
        """Return a sign-in, once; None where there is none, or no longer."""
        found = self._files.take(name)
        if found is None or self._clock() - found.began >= SIGN_IN_SECONDS:
            return None
        return Pending(**{name: str(found.content[name]) for name in Pending.__slots__})


def is_of_the_page(request: HTTPServerRequest) -> bool:
    """Tell whether the page sent a request, and no other site in the same browser."""
    origin = request.headers.get("Origin")
    return request.headers.get(HEADER) == WORD and (
        origin is None or origin.partition("://")[2].lower() == request.host.lower()
    )


def name_in(request: HTTPServerRequest) -> str | None:
    """Return the name of the session that a request of the page shows."""
    return _cookie_in(request, COOKIE) if is_of_the_page(request) else None


def sign_in_name_in(request: HTTPServerRequest) -> str | None:
    """Return the name of the sign-in that a browser brings back from the issuer."""
    return _cookie_in(request, SIGN_IN_COOKIE)


def cookie(request: HTTPServerRequest, name: str, seconds: float = LONGEST) -> str:
    """Return the header ``Set-Cookie`` that opens a session; with an empty `name`, that closes it."""
    return _cookie(request, COOKIE, name, min(seconds, LONGEST), "Strict")


def sign_in_cookie(request: HTTPServerRequest, name: str) -> str:
    """Return the header ``Set-Cookie`` of a sign-in; with an empty `name`, that ends it.

    The issuer leads back from another site, with which browsers send cookies that are `Lax`, and no others.
    """
    return _cookie(request, SIGN_IN_COOKIE, name, SIGN_IN_SECONDS, "Lax")


def cookie_name(request: HTTPServerRequest, purpose: str = COOKIE) -> str:
    """Name the cookie. Browsers send cookies to all ports of a host, so each port has a name of its own.

    Over TLS no server of a neighbouring name may set it, which browsers hold for this prefix.
    """
    port = request.host.rpartition(":")[2]
    name = f"{purpose}_{port}" if port.isdecimal() else purpose
    return f"__Host-{name}" if _is_encrypted(request) else name


def _cookie_in(request: HTTPServerRequest, purpose: str) -> str | None:
    try:
        found = SimpleCookie(request.headers.get("Cookie", "")).get(cookie_name(request, purpose))
    except CookieError:
        return None
    return found.value if found is not None and found.value else None


def _cookie(request: HTTPServerRequest, purpose: str, name: str, seconds: float, site: str) -> str:
    age = int(seconds) if name else 0
    secure = "; Secure" if _is_encrypted(request) else ""
    return f"{cookie_name(request, purpose)}={name}; Path=/; Max-Age={age}; HttpOnly; SameSite={site}{secure}"


def _is_encrypted(request: HTTPServerRequest) -> bool:
    """Tell whether the browser has come by TLS, as what is in front of the proxy says."""
    protocol: str = request.headers.get("X-Forwarded-Proto", request.protocol)
    return protocol.lower() == "https"

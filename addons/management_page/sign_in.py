"""Sign people in to the page at an issuer of OpenID Connect: to it, and back."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any, ClassVar
from urllib.parse import quote

from tornado.web import HTTPError, RequestHandler

from addons.management_api import errors, sessions
from addons.management_api.access import Caller
from addons.management_api.context import Api
from addons.management_api.errors import ApiError
from addons.management_api.fields import invalid
from addons.management_api.handler import ApiHandler, Roles
from addons.management_api.oidc.code_flow import CodeFlow
from addons.management_api.parameters import Takes, required_text, text
from addons.management_api.sessions import Session
from addons.management_page.files import HEADERS
from store.audit.origin import Origin, address
from store.core.errors import StoreError
from store.core.urls import split_url
from store.tokens.management_tokens import READ

logger = logging.getLogger(__name__)

VISITOR = Caller("page", READ)
"""Whoever has the page open. Here they can only ask to be led to the issuer."""
VIEW = re.compile(r"#/[\x20-\x7e]{0,500}")
"""It matches what of the page may be asked for, which is never another place."""
FIRST_VIEW = "#/overview"
LONGEST_PARAMETER = 4096
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
{refresh}<title>{title} · llmproxy</title>
<link rel="icon" href="../icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="../page.css">
</head>
<body>
<main class="narrow">
<h1>{title}</h1>
<p{kind}>{said}</p>
<p><a href="../{view}">{further}</a></p>
</main>
</body>
</html>
"""


class SignInAtIssuer(ApiHandler):
    """``/page/oidc``: which issuer there is, and the way to it. For the page, without a session."""

    roles: ClassVar[Roles] = {"GET": (READ,), "POST": (READ,)}
    takes: ClassVar[dict[str, Takes]] = {
        "POST": {"page": required_text("URL of the page"), "view": text("What to come back to: #/calls")}
    }

    async def authenticate(self) -> ApiError | None:
        self.caller = VISITOR
        return None if sessions.is_of_the_page(self.request) else errors.not_the_page()

    async def get(self) -> None:
        self.query()
        flow = self.api.code_flow
        self.answer({"issuer": None if flow is None else split_url(flow.issuer.url).netloc})

    async def post(self) -> None:
        """Begin a sign-in; the browser that asked is the only one that can end it."""
        fields = self.fields()
        page, view = fields.required("page"), fields.text("view") or ""
        flow = _flow(self.api)
        if not self.api.attempts.may_try(self.request.remote_ip, ""):
            raise errors.too_many()
        parts = split_url(page)
        if (
            parts.scheme not in ("http", "https")
            or parts.netloc.lower() != self.request.host.lower()
            or not parts.path.endswith("/page/")
            or parts.query
            or parts.fragment
        ):
            raise invalid("page", "give the URL of this page, which ends in /page/")
        url, pending = await asyncio.to_thread(flow.begin, page, view if VIEW.fullmatch(view) else FIRST_VIEW)
        name = await asyncio.to_thread(self.api.sign_ins.begin, pending)
        self.set_header("Set-Cookie", sessions.sign_in_cookie(self.request, name))
        self.answer({"location": url})


@dataclass(frozen=True, slots=True)
class Begun:
    """Holds a session that has just begun."""

    name: str
    ends: float
    view: str


class Callback(RequestHandler):
    """``/page/oidc/callback``: the way back from the issuer.

    The browser comes here from another site, and so without cookies that are `Strict`. The answer is a
    document of this site, and what it leads on to at once is asked for by this site itself.
    """

    def initialize(self, api: Api) -> None:
        self.api = api

    def set_default_headers(self) -> None:
        self.set_header("Server", "llmproxy")
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", "text/html; charset=utf-8")

    async def get(self) -> None:
        begun = await self.begin()
        age = begun.ends - time.time()
        self.add_header("Set-Cookie", sessions.cookie(self.request, begun.name, age))
        self.add_header("Set-Cookie", sessions.sign_in_cookie(self.request, ""))
        view = escape(quote(begun.view, safe="#/?&=:%,.~+"))
        self.show(
            "Signed in",
            "The page comes at once.",
            view=view,
            refresh=f'<meta http-equiv="refresh" content="0; url=../{view}">\n',
        )

    async def begin(self) -> Begun:
        """Open a session for who comes back. Raises ApiError and StoreError."""
        flow, remote = _flow(self.api), self.request.remote_ip
        name = sessions.sign_in_name_in(self.request)
        # Each counts once: whoever tries a second state or code begins anew.
        pending = None if name is None else await asyncio.to_thread(self.api.sign_ins.take, name)
        if pending is None:
            raise errors.sign_in_ended()
        if not self.api.attempts.may_try(remote, ""):
            raise errors.too_many()
        try:
            signed = await asyncio.to_thread(flow.finish, pending, self.parameters())
            verifier = self.api.oidc
            assert verifier is not None
            origin = Origin(VISITOR.actor, address(remote))
            who = await self.api.reading.do(partial(verifier.caller, claims=signed.claims), origin)
            if who is None:
                logger.info("llmproxy: %r is known to the issuer, and has no role.", signed.claims["sub"])
                raise errors.no_role()
        except ApiError as error:
            if error.code != errors.sign_in_refused.code:
                self.api.attempts.failed(remote)
                self.api.denied(remote)
            raise
        session, ends = Session(signed.id_token, pending.page), float(signed.claims["exp"])
        return Begun(await asyncio.to_thread(self.api.sessions.begin, session, ends), ends, pending.view)

    def parameters(self) -> dict[str, str]:
        """Read the issuer's answer; what is there twice is not there (RFC 6749, section 3.1)."""
        given = {name: self.get_query_arguments(name) for name in self.request.query_arguments}
        return {
            name: values[0]
            for name, values in given.items()
            if len(values) == 1 and len(values[0]) <= LONGEST_PARAMETER
        }

    def show(self, title: str, said: str, *, kind: str = "", view: str = "", refresh: str = "") -> None:
        further = "Go on" if refresh else "Back to the page"
        self.finish(
            PAGE.format(
                title=title, said=escape(said), kind=kind, view=view, refresh=refresh, further=further
            )
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        raised = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(raised, StoreError):
            raised = ApiError.of(raised)
        if not isinstance(raised, ApiError):
            raised = errors.unreadable() if status_code < 500 else errors.internal()
        self.set_status(raised.status)
        if raised.status == 503:
            self.set_header("Retry-After", str(errors.RETRY_SECONDS))
        if raised.status == 429:
            self.set_header("Retry-After", "60")
        self.set_header("Set-Cookie", sessions.sign_in_cookie(self.request, ""))
        self.show("Not signed in", f"{raised.message} ({raised.code})", kind=' class="error" role="alert"')

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, (ApiError, StoreError, HTTPError)):
            logger.error("llmproxy: a sign-in failed", exc_info=(typ, value, tb))


def _flow(api: Api) -> CodeFlow:
    """Give how people sign in at the issuer. Raises ApiError."""
    if api.code_flow is None:
        raise errors.sign_in_off()
    return api.code_flow

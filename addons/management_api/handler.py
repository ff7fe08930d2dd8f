"""Share what all routes of the management API do: admit, read, report errors."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, TypeVar

from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, RequestHandler, stream_request_body
from uuid_utils import uuid7

from addons.management_api import errors, reference, sessions
from addons.management_api.access import OWNER, Caller, bearer, caller_of, is_allowed
from addons.management_api.context import Api
from addons.management_api.errors import ApiError
from addons.management_api.etags import etag_of
from addons.management_api.fields import Fields
from addons.management_api.oidc.verifier import is_jwt
from addons.management_api.parameters import Takes
from addons.management_api.sessions import Session
from store.audit.origin import LONGEST_SAID, Origin, Request, address
from store.core.errors import StoreError
from store.tokens.management_tokens import ADMIN, PREFIX, READ, ManagementTokens
from store.tokens.models import Project, Token
from store.tokens.store import TokenStore

logger = logging.getLogger(__name__)

IDS = ("X-Request-ID", "X-Correlation-ID")
NAME = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
"""It is that of a request, as its client may choose it."""
PROBLEM = "application/problem+json"
"""RFC 9457; for who asks for it."""
LONGEST_BODY = 64 * 1024
LONGEST_DROPPED = 16 * 2**20
"""Bytes of a body that are read only to be dropped."""
T = TypeVar("T")
Roles = Mapping[str, Collection[str]]


@stream_request_body
class ApiHandler(RequestHandler):
    """Lets in who holds a token with the right role, and answers every error as one JSON object."""

    roles: ClassVar[Roles] = {"GET": (READ,)}
    """By method, who may beside an admin. Who may do so for some projects only is kept to them by
    :attr:`caller`."""

    takes: ClassVar[Mapping[str, Takes]] = {}
    """By method, what its body, or of GET its URL, may hold."""

    def initialize(self, api: Api) -> None:
        self.api = api
        self.body = bytearray()
        self.refusal: ApiError | None = None
        self.caller = OWNER

    def set_default_headers(self) -> None:
        self.set_header("Server", "llmproxy")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", "application/json")
        for name, value in zip(IDS, self.request_ids(), strict=True):
            self.set_header(name, value)

    def request_ids(self) -> tuple[str, str]:
        """Give the request's own names for itself, or new ones."""
        found = getattr(self, "_request_ids", None)
        if found is None:
            given = [self.request.headers.get(name, "") for name in IDS]
            found = tuple(name if NAME.fullmatch(name) else str(uuid7()) for name in given)
            self._request_ids: tuple[str, str] = (found[0], found[1])
        return self._request_ids

    async def prepare(self) -> None:
        """Judge by the head. A body is read in any case: who is still sending would not see the answer."""
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)
        connection.set_max_body_size(LONGEST_DROPPED)
        length = self.request.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else 0
        try:
            self.refusal = await self.authenticate() or self.judge(size)
        except StoreError as error:
            self.refusal = ApiError.of(error)
        except ApiError as error:
            self.refusal = error
        if self.refusal and size > LONGEST_DROPPED:
            self.set_header("Connection", "close")
            raise self.refusal
        if self.refusal:
            setattr(self, str(self.request.method).lower(), self.refuse)

    async def authenticate(self) -> ApiError | None:
        """Find out who asks."""
        session = await self.session()
        if session is None:
            return errors.no_session()
        if session.is_of_issuer:
            return await self._of_session(session.text)
        authorization, remote = f"Bearer {session.text}", self.request.remote_ip
        if self.api.token is not None and is_allowed(authorization, self.api.token):
            return None
        text = bearer(authorization)
        named, by_issuer = text.startswith(PREFIX), self.api.oidc is not None and is_jwt(text)
        if self.api.token is None and self.api.oidc is None and not named:
            return errors.off()
        if not self.api.attempts.may_try(remote, text):
            return errors.too_many()
        found = None
        if named:
            found = await self.read(lambda store: _admitted(store, text))
        elif by_issuer:
            found = await self._of_issuer(text)
        if found is None:
            self.api.attempts.failed(remote)
            self.api.denied(remote)
            return errors.unauthorised()
        self.api.attempts.succeeded(text)
        self.caller = found
        return None

    async def _of_issuer(self, text: str) -> Caller | None:
        """Find out whose token of the issuer it is; None where it opens nothing."""
        verifier = self.api.oidc
        assert verifier is not None
        claims = await asyncio.to_thread(verifier.claims, text)
        return None if claims is None else await self.read(lambda store: verifier.caller(store, claims))

    async def _of_session(self, id_token: str) -> ApiError | None:
        """Judge a session by its ID token. It was good once: what has ended is nobody's try at anything."""
        verifier = self.api.oidc
        claims = None if verifier is None else await asyncio.to_thread(verifier.claims_of_id_token, id_token)
        found = None
        if verifier is not None and claims is not None:
            found = await self.read(partial(verifier.caller, claims=claims))
        if found is None:
            return errors.no_session()
        self.caller = found
        return None

    async def session(self) -> Session | None:
        """Return what the header ``Authorization`` says, or the session that the page shows.

        None where the page has no session: that is nobody's try at a token.
        """
        given: str = self.request.headers.get("Authorization", "")
        if given or not sessions.is_of_the_page(self.request):
            return Session(bearer(given))
        name = sessions.name_in(self.request)
        return None if name is None else await asyncio.to_thread(self.api.sessions.find, name)

    def judge(self, size: int) -> ApiError | None:
        method = str(self.request.method)
        if method not in self.methods():
            return self.wrong_method()
        if self.caller.role != ADMIN and self.caller.role not in self.roles.get(method, ()):
            return errors.forbidden()
        return errors.too_large() if size > LONGEST_BODY else None

    def refuse(self, *_: str) -> None:
        """Refuse in place of the method that was asked for."""
        if self.refusal:
            raise self.refusal

    def data_received(self, chunk: bytes) -> None:
        # One byte too many is kept, to tell by.
        if self.refusal is None:
            self.body += chunk[: LONGEST_BODY + 1 - len(self.body)]

    @classmethod
    def methods(cls) -> list[str]:
        """Give those that there are here."""
        return [name for name in ("GET", "POST", "PATCH", "DELETE") if name.lower() in vars(cls)]

    def wrong_method(self) -> ApiError:
        return ApiError(405, "method_not_allowed", f"Use {' or '.join(self.methods())} here.")

    def fields(self) -> Fields:
        """Read the body, which may hold no others than :attr:`takes` has."""
        if len(self.body) > LONGEST_BODY:
            raise errors.too_large()
        return Fields.of_body(bytes(self.body), list(self.takes.get(str(self.request.method), ())))

    def query(self) -> Fields:
        """Read the parameters of the URL, all of them texts, and no others than :attr:`takes` has."""
        given = {name: self.get_query_arguments(name)[-1] for name in self.request.query_arguments}
        return Fields(given, list(self.takes.get("GET", ())))

    async def do(self, work: Callable[[TokenStore], T]) -> T:
        """Do the work beside the event loop, and on record."""
        return await self.api.writing.do(work, self.origin)

    async def read(self, work: Callable[[TokenStore], T]) -> T:
        """Do work that only reads, and may take its time, beside the event loop and beside all changes."""
        return await self.api.reading.do(work, self.origin)

    @property
    def origin(self) -> Origin:
        """Name who asks, and by which request."""
        request_id, correlation_id = self.request_ids()
        said = self.request.headers.get("User-Agent")
        request = Request(
            *(request_id, correlation_id, str(self.request.method), self.request.path[:LONGEST_SAID]),
            user_agent=None if said is None else _printable(said[:LONGEST_SAID]),
        )
        return Origin(self.caller.actor, address(self.request.remote_ip), request)

    def answer(self, value: Mapping[str, Any], status: int = 200) -> None:
        self.set_status(status)
        self.finish(json.dumps(value, ensure_ascii=False) + "\n")

    @property
    def reference(self) -> bool:
        """Tell whether answers have the form of the reference system."""
        return self.api.settings().management_dialect == "reference"

    @property
    def match(self) -> str | None:
        """Give what the caller has seen of what is to be changed."""
        return self.request.headers.get("If-Match")

    def shown(self, found: Project | Token) -> dict[str, Any]:
        """Show a project or a token."""
        return reference.shown(found) if self.reference else found.as_dict()

    def answer_object(self, found: Project | Token, status: int = 200, **more: Any) -> None:
        """Answer with a project or a token, its tag, and what else there is to say of it."""
        self.set_header("ETag", etag_of(found))
        self.answer({**self.shown(found), **more}, status)

    def answer_list(
        self,
        found: Sequence[Mapping[str, Any]],
        following: str | int | None = None,
        *,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Answer with a list. `following`: what to give as `after` for the rest; `more`: what else to say."""
        if self.reference:
            self.finish(json.dumps(found if more is None else more, ensure_ascii=False) + "\n")
        else:
            self.answer({"data": found, "next": following, **(more or {})})

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer for whatever was raised, tornado's own errors too."""
        raised = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(raised, StoreError):
            raised = ApiError.of(raised)
        if not isinstance(raised, ApiError):
            raised = errors.unreadable() if status_code < 500 else errors.internal()
        if raised.status == 401:
            self.set_header("WWW-Authenticate", "Bearer")
        if raised.status == 405:
            self.set_header("Allow", ", ".join(self.methods()))
        if raised.status == 503:
            self.set_header("Retry-After", str(errors.RETRY_SECONDS))
        if raised.status == 429:
            self.set_header("Retry-After", "60")
        if PROBLEM in self.request.headers.get("Accept", ""):
            self.set_header("Content-Type", PROBLEM)
        self.answer(reference.error(raised) if self.reference else raised.as_dict(), raised.status)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, (ApiError, StoreError, HTTPError)):
            logger.error("llmproxy: the management API failed", exc_info=(typ, value, tb))


def _admitted(store: TokenStore, text: str) -> Caller | None:
    found = ManagementTokens(store.connection, store.audit).admit(text, datetime.now(UTC))
    return None if found is None else caller_of(found)


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)

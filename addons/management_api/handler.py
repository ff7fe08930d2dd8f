"""What all routes of the management API share: who is let in, what is read, how errors are told."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, RequestHandler, stream_request_body

from addons.management_api import errors
from addons.management_api.access import is_allowed
from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields
from addons.management_api.store_thread import StoreThread
from store.audit.origin import Origin, address
from store.errors import StoreError
from store.secret import Secret
from store.tokens import TokenStore

logger = logging.getLogger(__name__)

ACTOR = "management token"
LONGEST_BODY = 64 * 1024
LONGEST_DROPPED = 16 * 2**20
"""Bytes of a body that are read only to be dropped."""
T = TypeVar("T")
Denied = Callable[[str | None], None]
"""Told of a request without the management token, and its address."""


@stream_request_body
class ApiHandler(RequestHandler):
    """Lets in who holds the token, and answers every error as one JSON object."""

    def initialize(self, store: StoreThread, token: Secret | None, denied: Denied) -> None:
        self.store, self.token, self.denied = store, token, denied
        self.body = bytearray()
        self.refusal: ApiError | None = None

    def set_default_headers(self) -> None:
        self.set_header("Server", "llmproxy")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", "application/json")

    def prepare(self) -> None:
        """Judge by the head. A body is read in any case: who is still sending would not see the answer."""
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)
        connection.set_max_body_size(LONGEST_DROPPED)
        length = self.request.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else 0
        self.refusal = self.judge(size)
        if self.refusal and size > LONGEST_DROPPED:
            self.set_header("Connection", "close")
            raise self.refusal
        if self.refusal:
            setattr(self, str(self.request.method).lower(), self.refuse)

    def judge(self, size: int) -> ApiError | None:
        if self.token is None:
            return errors.off()
        if not is_allowed(self.request.headers.get("Authorization", ""), self.token):
            self.denied(self.request.remote_ip)
            return errors.unauthorised()
        if self.request.method not in self.methods():
            return self.wrong_method()
        return errors.too_large() if size > LONGEST_BODY else None

    def refuse(self, *_: str) -> None:
        """In place of the method that was asked for."""
        if self.refusal:
            raise self.refusal

    def data_received(self, chunk: bytes) -> None:
        # One byte too many is kept, to tell by.
        if self.refusal is None:
            self.body += chunk[: LONGEST_BODY + 1 - len(self.body)]

    @classmethod
    def methods(cls) -> list[str]:
        """Those that there are here."""
        return [name for name in ("GET", "POST", "PATCH", "DELETE") if name.lower() in vars(cls)]

    def wrong_method(self) -> ApiError:
        return ApiError(405, "method_not_allowed", f"Use {' or '.join(self.methods())} here.")

    def fields(self, *known: str) -> Fields:
        """Of the body, which may hold no others than these."""
        if len(self.body) > LONGEST_BODY:
            raise errors.too_large()
        return Fields.of_body(bytes(self.body), known)

    def query(self, *known: str) -> Fields:
        """The parameters of the URL, all of them texts."""
        given = {name: self.get_query_arguments(name)[-1] for name in self.request.query_arguments}
        return Fields(given, known)

    async def do(self, work: Callable[[TokenStore], T]) -> T:
        """Beside the event loop, and on record."""
        return await self.store.do(work, Origin(ACTOR, address(self.request.remote_ip)))

    def answer(self, value: Mapping[str, Any], status: int = 200) -> None:
        self.set_status(status)
        self.finish(json.dumps(value, ensure_ascii=False) + "\n")

    def answer_list(self, found: Sequence[Mapping[str, Any]], following: str | int | None = None) -> None:
        """`following`: what to give as `after` for the rest."""
        self.answer({"data": found, "next": following})

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """For whatever was raised, tornado's own errors too."""
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
            self.set_header("Retry-After", "5")
        self.answer(raised.as_dict(), raised.status)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, (ApiError, StoreError, HTTPError)):
            logger.error("llmproxy: the management API failed", exc_info=(typ, value, tb))

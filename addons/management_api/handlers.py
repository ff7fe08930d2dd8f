"""The routes of the management API."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, RequestHandler, stream_request_body

from addons.management_api import errors
from addons.management_api.access import is_allowed
from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields
from addons.management_api.store_thread import StoreThread
from store import validation
from store.audit.origin import Origin, address
from store.errors import StoreError
from store.limits import NONE
from store.models import Project, Selection, Token
from store.secret import Secret
from store.tokens import TokenStore

logger = logging.getLogger(__name__)

ACTOR = "management token"
LONGEST_BODY = 64 * 1024
LONGEST_DROPPED = 16 * 2**20
"""Bytes of a body that are read only to be dropped."""
PAGE, LARGEST_PAGE = 100, 1000
OVERLAP = timedelta(hours=1)
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

    def methods(self) -> list[str]:
        """Those that there are here."""
        return [name for name in ("GET", "POST", "PATCH", "DELETE") if name.lower() in vars(type(self))]

    def wrong_method(self) -> ApiError:
        return ApiError(405, "method_not_allowed", f"Use {' or '.join(self.methods())} here.")

    def fields(self, *known: str) -> Fields:
        if len(self.body) > LONGEST_BODY:
            raise errors.too_large()
        return Fields(bytes(self.body), known)

    def query(self, *known: str) -> dict[str, str]:
        """The parameters of the URL. Raises ApiError for others than these."""
        given = {name: self.get_query_arguments(name)[-1] for name in self.request.query_arguments}
        if unknown := sorted(given.keys() - set(known)):
            use = ", ".join(known) or "no parameters"
            raise ApiError(400, "invalid_value", f"{unknown[0][:80]}: unknown; use {use}.", unknown[0][:80])
        return given

    async def do(self, work: Callable[[TokenStore], T]) -> T:
        return await self.store.do(work, Origin(ACTOR, address(self.request.remote_ip)))

    def answer(self, value: Mapping[str, Any], status: int = 200) -> None:
        self.set_status(status)
        self.finish(json.dumps(value, ensure_ascii=False) + "\n")

    def answer_list(self, found: Sequence[Project | Token], following: str | None = None) -> None:
        """`following`: what to give as `after` for the rest."""
        self.answer({"data": [one.as_dict() for one in found], "next": following})

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


LABELS = ("metadata", "header_metadata", "limits")


class Projects(ApiHandler):
    async def get(self) -> None:
        self.query()
        self.answer_list(await self.do(lambda store: store.list_projects()))

    async def post(self) -> None:
        fields = self.fields("name", "api_key", *LABELS)
        name, api_key = fields.required("name"), fields.required("api_key")
        more = _given(fields)
        made = await self.do(lambda store: store.create_project(name, api_key, **more))
        self.answer(made.as_dict(), 201)


class OneProject(ApiHandler):
    async def get(self, project: str) -> None:
        self.query()
        self.answer((await self.do(lambda store: store.get_project(project))).as_dict())

    async def patch(self, project: str) -> None:
        fields = self.fields("name", "api_key", "active", *LABELS)
        changes = _changed(fields)
        changes |= {name: fields.required(name) for name in ("name", "api_key") if name in fields}
        if "active" in fields:
            changes["active"] = fields.required_flag("active")
        self.answer((await self.do(lambda store: store.update_project(project, **changes))).as_dict())


class Tokens(ApiHandler):
    async def get(self) -> None:
        given = self.query("project_id", "after", "limit")
        limit = given.get("limit", str(PAGE))
        if not limit.isdecimal() or not 0 < int(limit) <= LARGEST_PAGE:
            raise ApiError(400, "invalid_value", f"limit: use 1 to {LARGEST_PAGE}.", "limit")
        project, after = given.get("project_id"), given.get("after", "")
        found = await self.do(lambda store: store.list_tokens(project, after=after, limit=int(limit) + 1))
        page = found[: int(limit)]
        self.answer_list(page, page[-1].id if len(found) > len(page) else None)

    async def post(self) -> None:
        fields = self.fields("project_id", "expires_at", "max_requests", "prefix", *LABELS)
        project = fields.required("project_id")
        order = {**_lifetime(fields), **_given(fields), "prefix": _prefix(fields)}
        made, text = await self.do(lambda store: store.create_token(project, **order))
        self.answer({"token": text.reveal(), **made.as_dict()}, 201)


class OneToken(ApiHandler):
    async def get(self, token_id: str) -> None:
        self.query()
        self.answer((await self.do(lambda store: store.get_token(token_id))).as_dict())

    async def patch(self, token_id: str) -> None:
        fields = self.fields("expires_at", "max_requests", *LABELS)
        changes = {**_lifetime(fields), **_changed(fields)}
        self.answer((await self.do(lambda store: store.update_token(token_id, **changes))).as_dict())

    async def delete(self, token_id: str) -> None:
        self.answer((await self.do(lambda store: store.revoke_token(token_id))).as_dict())


class Rotation(ApiHandler):
    async def post(self, token_id: str) -> None:
        fields = self.fields("overlap", "prefix")
        overlap, prefix = fields.duration("overlap"), _prefix(fields)
        changed, text = await self.do(
            lambda store: store.rotate_token(
                token_id, overlap=OVERLAP if overlap is None else overlap, prefix=prefix
            )
        )
        self.answer({"token": text.reveal(), **changed.as_dict()})


class Revocation(ApiHandler):
    async def post(self) -> None:
        fields = self.fields("project_id", "metadata", "older_than", "unused_for", "dry_run")
        now = datetime.now(UTC)
        older, unused = fields.duration("older_than"), fields.duration("unused_for")
        selection = Selection(
            fields.text("project_id"),
            dict(fields.object("metadata") or {}),
            None if older is None else now - older,
            None if unused is None else now - unused,
        )
        only_look = fields.flag("dry_run")
        if selection == Selection():
            raise ApiError(
                400,
                "invalid_value",
                "Say which: project_id, metadata, older_than, unused_for; those that fit all of it.",
            )
        self.answer_list(
            await self.do(
                lambda store: store.select_tokens(selection) if only_look else store.revoke_tokens(selection)
            )
        )


class RevocationOfProject(ApiHandler):
    async def post(self, project: str) -> None:
        self.fields()
        self.answer_list(await self.do(lambda store: store.revoke_tokens(Selection(project))))


class Nothing(ApiHandler):
    """Any other path."""

    def wrong_method(self) -> ApiError:
        return errors.no_such_route()


def routes(
    store: StoreThread, token: Secret | None, denied: Denied
) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    given = {"store": store, "token": token, "denied": denied}
    one = "([^/]+)"
    return [
        (pattern, handler, given)
        for pattern, handler in (
            ("/manage/projects", Projects),
            (f"/manage/projects/{one}", OneProject),
            (f"/manage/projects/{one}/tokens/revoke", RevocationOfProject),
            ("/manage/tokens", Tokens),
            ("/manage/tokens/revoke", Revocation),
            (f"/manage/tokens/{one}", OneToken),
            (f"/manage/tokens/{one}/rotate", Rotation),
            ("/manage(?:/.*)?", Nothing),
        )
    ]


def _given(fields: Fields) -> dict[str, Any]:
    """Of what is made: values."""
    return {
        "metadata": fields.pairs("metadata")({}),
        "header_metadata": fields.names("header_metadata") or (),
        "limits": fields.limits("limits")(NONE),
    }


def _changed(fields: Fields) -> dict[str, Any]:
    """Of what is changed: functions of what there is; names are a list as it is to be."""
    changes: dict[str, Any] = {}
    if "metadata" in fields:
        changes["metadata"] = fields.pairs("metadata")
    if "header_metadata" in fields:
        changes["header_metadata"] = fields.names("header_metadata") or ()
    if "limits" in fields:
        changes["limits"] = fields.limits("limits")
    return changes


def _lifetime(fields: Fields) -> dict[str, Any]:
    lifetime: dict[str, Any] = {}
    if "expires_at" in fields:
        lifetime["expires_at"] = fields.expiry("expires_at")
    if "max_requests" in fields:
        lifetime["max_requests"] = fields.whole("max_requests")
    return lifetime


def _prefix(fields: Fields) -> str:
    return fields.text("prefix") or validation.TOKEN_PREFIX

"""``/manage/tokens``"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from addons.management_api import labels
from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields
from addons.management_api.handler import ApiHandler
from addons.management_api.labels import LABELS
from store import validation
from store.ledger.account import Gauge
from store.ledger.use import shown
from store.models import Selection, Token
from store.tokens import TokenStore

OVERLAP = timedelta(hours=1)


class Tokens(ApiHandler):
    async def get(self) -> None:
        query = self.query("project_id", "after", "limit")
        project, after, limit = query.text("project_id"), query.text("after") or "", query.limit("limit")
        found = await self.do(lambda store: store.list_tokens(project, after=after, limit=limit + 1))
        page = found[:limit]
        self.answer_list([token.as_dict() for token in page], page[-1].id if len(found) > limit else None)

    async def post(self) -> None:
        fields = self.fields("project_id", "expires_at", "max_requests", "prefix", *LABELS)
        project = fields.required("project_id")
        order = {**_lifetime(fields), **labels.given(fields), "prefix": _prefix(fields)}
        made, text = await self.do(lambda store: store.create_token(project, **order))
        self.answer({"token": text.reveal(), **made.as_dict()}, 201)


class OneToken(ApiHandler):
    async def get(self, token_id: str) -> None:
        self.query()

        def read(store: TokenStore) -> dict[str, Any]:
            """As ``llmproxy token show`` has it."""
            token = store.get_token(token_id)
            return _with_use(
                token, [*store.token_use(token), *store.project_use(store.get_project(token.project_id))]
            )

        self.answer(await self.do(read))

    async def patch(self, token_id: str) -> None:
        fields = self.fields("expires_at", "max_requests", *LABELS)
        changes = {**_lifetime(fields), **labels.changed(fields)}
        self.answer((await self.do(lambda store: store.update_token(token_id, **changes))).as_dict())

    async def delete(self, token_id: str) -> None:
        self.answer((await self.do(lambda store: store.revoke_token(token_id))).as_dict())


class Rotation(ApiHandler):
    """``/manage/tokens/ID/rotate``"""

    async def post(self, token_id: str) -> None:
        fields = self.fields("overlap", "prefix")
        given, prefix = fields.duration("overlap"), _prefix(fields)
        overlap = OVERLAP if given is None else given
        changed, text = await self.do(
            lambda store: store.rotate_token(token_id, overlap=overlap, prefix=prefix)
        )
        self.answer({"token": text.reveal(), **changed.as_dict()})


class TokenTopup(ApiHandler):
    """``/manage/tokens/ID/topup``"""

    async def post(self, token_id: str) -> None:
        budget = labels.topup(self.fields("amount"))

        def add(store: TokenStore) -> dict[str, Any]:
            token = store.top_up_token(token_id, budget)
            return _with_use(token, store.token_use(token))

        self.answer(await self.do(add), 201)


class Revocation(ApiHandler):
    """``/manage/tokens/revoke``"""

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
        found = await self.do(
            lambda store: store.select_tokens(selection) if only_look else store.revoke_tokens(selection)
        )
        self.answer_list([token.as_dict() for token in found])


def _with_use(token: Token, gauges: Sequence[Gauge]) -> dict[str, Any]:
    return {**token.as_dict(), "use": shown(gauges, time.time())}


def _lifetime(fields: Fields) -> dict[str, Any]:
    lifetime: dict[str, Any] = {}
    if "expires_at" in fields:
        lifetime["expires_at"] = fields.expiry("expires_at")
    if "max_requests" in fields:
        lifetime["max_requests"] = fields.whole("max_requests")
    return lifetime


def _prefix(fields: Fields) -> str:
    return fields.text("prefix") or validation.TOKEN_PREFIX

"""Serve ``/manage/tokens``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from addons.management_api import etags, model_fields, reference
from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields, invalid
from addons.management_api.handler import ApiHandler, Roles
from addons.management_api.parameters import (
    AMOUNT,
    FLAG,
    LIMIT,
    NAMED_OF_TOKEN,
    OBJECT,
    REQUIRED_FLAG,
    Parameter,
    Takes,
    length,
    of_model,
    required_text,
    text,
    texts,
)
from store.core.errors import Conflict
from store.core.secret import Secret
from store.ledger.account import Gauge
from store.ledger.claimed import OF_TOKEN
from store.ledger.use import shown
from store.tokens import validation
from store.tokens.management_tokens import PROJECT, READ
from store.tokens.models import Selection, Token
from store.tokens.store import TokenStore

OVERLAP = timedelta(hours=1)
MINUTES = Parameter({"type": ["integer", "null"], "minimum": 1, "maximum": reference.LONGEST_MINUTES})
"""In place of `expires_at`, as in the reference system."""
MOST_IN_ARRAY = 100_000
"""Tokens in a list without pages."""


class Tokens(ApiHandler):
    roles: ClassVar[Roles] = {"GET": (READ, PROJECT), "POST": (PROJECT,)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "GET": {**texts("project_id", "projectId", "after"), "limit": LIMIT},
        "POST": {
            "project_id": required_text("Id or name"),
            "prefix": text("How its text begins"),
            "duration_minutes": MINUTES,
            **of_model(Token),
        },
    }

    async def get(self) -> None:
        query = self.query()
        project = query.text("project_id") or query.text("projectId")
        after, limit = query.text("after") or "", query.limit("limit")
        if self.reference:
            limit = MOST_IN_ARRAY

        def find(store: TokenStore) -> list[Token]:
            of = None if project is None else self.caller.project(store, project).id
            within = self.caller.projects if of is None else None
            return store.list_tokens(of, after=after, limit=limit + 1, projects=within)

        found = await self.do(find)
        page = found[:limit]
        self.answer_list([self.shown(token) for token in page], page[-1].id if len(found) > limit else None)

    async def post(self) -> None:
        fields = self.fields()
        project = fields.required("project_id")
        prefix, given = _prefix(fields), model_fields.given(fields, Token) | reference.lifetime(fields)
        _unlimited(given, self.reference or "duration_minutes" in fields)

        def make(store: TokenStore) -> tuple[Token, Secret]:
            owner = self.caller.project(store, project)
            if not owner.active:
                raise ApiError(
                    403,
                    "project_inactive",
                    f"Project {owner.name!r} is not active; no tokens are made for it.",
                )
            return store.create_token(owner.id, prefix=prefix, **given)

        made, text = await self.do(make)
        # The reference system says 200; whoever asks as it does gets that.
        status = 200 if "duration_minutes" in fields else 201
        self.answer_object(made, status, token=text.reveal())


class OneToken(ApiHandler):
    roles: ClassVar[Roles] = {"GET": (READ, PROJECT), "PATCH": (PROJECT,), "DELETE": (PROJECT,)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "PATCH": {"is_active": REQUIRED_FLAG, "duration_minutes": MINUTES, **of_model(Token)}
    }

    async def get(self, token_id: str) -> None:
        self.query()

        def read(store: TokenStore) -> tuple[Token, list[Gauge]]:
            """Read a token with its use, as ``llmproxy token show`` has it."""
            token = self.caller.token(store, token_id)
            return token, store.use_of_calls(token)

        token, gauges = await self.do(read)
        self.answer_object(token, use=shown(gauges, time.time()))

    async def patch(self, token_id: str) -> None:
        fields = self.fields()
        changes = model_fields.given(fields, Token) | reference.lifetime(fields)
        _unlimited(changes, self.reference)
        active = fields.required_flag("is_active") if "is_active" in fields else None
        if not changes and active is None:
            raise ApiError(400, "invalid_value", "There are no fields to update.")

        def change(store: TokenStore) -> Token:
            token = self.caller.token(store, token_id)
            if active and not token.active:
                raise Conflict("a revoked token stays revoked, whatever is_active says; make a new one.")
            if changes:
                token = store.update_token(token_id, **changes)
            return store.revoke_token(token_id) if active is False and token.active else token

        self.answer_object(await self.changed(token_id, change))

    async def delete(self, token_id: str) -> None:
        def revoke(store: TokenStore) -> Token:
            self.caller.token(store, token_id)
            return store.revoke_token(token_id)

        revoked = await self.changed(token_id, revoke)
        if self.reference:
            self.set_status(204)
            self.finish()
        else:
            self.answer_object(revoked)

    async def changed(self, token_id: str, change: Callable[[TokenStore], Token]) -> Token:
        """Make a change in one transaction, if the token is what the caller has seen."""
        match = self.match

        def work(store: TokenStore) -> Token:
            with store.connection.transaction():
                etags.hold(store, match, lambda: store.get_token(token_id))
                return change(store)

        return await self.do(work)


class Rotation(ApiHandler):
    """``/manage/tokens/ID/rotate``"""

    roles: ClassVar[Roles] = {"POST": (PROJECT,)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "POST": {"overlap": length("How long the old text is good, too"), "prefix": text()}
    }

    async def post(self, token_id: str) -> None:
        fields = self.fields()
        given, prefix = fields.duration("overlap"), _prefix(fields)
        overlap = OVERLAP if given is None else given

        def rotate(store: TokenStore) -> tuple[Token, Secret]:
            self.caller.token(store, token_id)
            return store.rotate_token(token_id, overlap=overlap, prefix=prefix)

        changed, text = await self.do(rotate)
        self.answer_object(changed, token=text.reveal())


class TokenTopup(ApiHandler):
    """``/manage/tokens/ID/topup``"""

    takes: ClassVar[Mapping[str, Takes]] = {"POST": {"amount": AMOUNT, **NAMED_OF_TOKEN}}

    async def post(self, token_id: str) -> None:
        fields = self.fields()
        budget, claimed = model_fields.topup(fields), model_fields.claimed(fields, OF_TOKEN)
        if claimed is not None:
            gauges = await self.do(
                lambda store: store.top_up_claimed(store.get_token(token_id), *claimed, budget)
            )
            self.answer({claimed[0]: claimed[1], "use": shown(gauges, time.time())}, 201)
            return

        def add(store: TokenStore) -> tuple[Token, list[Gauge]]:
            token = store.top_up_token(token_id, budget)
            return token, store.token_use(token)

        token, gauges = await self.do(add)
        self.answer_object(token, 201, use=shown(gauges, time.time()))


class Revocation(ApiHandler):
    """``/manage/tokens/revoke``; within some projects only for who names one of theirs."""

    roles: ClassVar[Roles] = {"POST": (PROJECT,)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "POST": {
            "project_id": text("Id or name"),
            "metadata": OBJECT,
            "older_than": length("Made longer ago"),
            "unused_for": length("Not used for so long"),
            "dry_run": FLAG,
        }
    }

    async def post(self) -> None:
        fields = self.fields()
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
        if self.caller.projects is not None and selection.project is None:
            raise invalid("project_id", "say which of your projects")

        def revoke(store: TokenStore) -> list[Token]:
            if selection.project is not None:
                self.caller.project(store, selection.project)
            return store.select_tokens(selection) if only_look else store.revoke_tokens(selection)

        self.answer_list([self.shown(token) for token in await self.do(revoke)])


def _unlimited(given: dict[str, Any], zero_is_any: bool) -> None:
    """Take 0 for any number of requests, as the reference system does. Elsewhere it is none."""
    if zero_is_any and given.get("max_requests") == 0:
        given["max_requests"] = None


def _prefix(fields: Fields) -> str:
    return fields.text("prefix") or validation.TOKEN_PREFIX

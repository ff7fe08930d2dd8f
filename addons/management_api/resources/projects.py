"""Serve ``/manage/projects``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from addons.management_api import etags, model_fields, reference
from addons.management_api.access import Caller
from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields, invalid
from addons.management_api.handler import ApiHandler, Roles
from addons.management_api.parameters import (
    AMOUNT,
    FLAG,
    NAMED_OF_PROJECT,
    REQUIRED_FLAG,
    Parameter,
    Takes,
    of_model,
    required_text,
)
from store.ledger.claimed import OF_PROJECT
from store.ledger.use import shown
from store.tokens.management_tokens import PROJECT, READ
from store.tokens.models import Project, Selection, Token
from store.tokens.store import TokenStore

KEY = required_text("The key itself, or a reference that llm_management_keys allows")


class Projects(ApiHandler):
    roles: ClassVar[Roles] = {"GET": (READ, PROJECT)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "POST": {"name": required_text(), "api_key": KEY, **of_model(Project)}
    }

    async def get(self) -> None:
        self.query()
        found = await self.do(lambda store: store.list_projects())
        mine = self.caller.projects
        self.answer_list([self.shown(project) for project in found if mine is None or project.id in mine])

    async def post(self) -> None:
        fields = self.fields()
        name, api_key = fields.required("name"), fields.api_key("api_key", self.api.references)
        more = model_fields.given(fields, Project)
        made = await self.do(lambda store: store.create_project(name, api_key, **more))
        self.answer_object(made, 201)


class OneProject(ApiHandler):
    roles: ClassVar[Roles] = {"GET": (READ, PROJECT)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "PATCH": {
            "name": Parameter({"type": "string"}),
            "api_key": Parameter({"type": "string"}),
            **dict.fromkeys(("active", "is_active"), REQUIRED_FLAG),
            "revoke_tokens": FLAG,
            **of_model(Project),
        }
    }

    async def get(self, project: str) -> None:
        self.query()
        found, use = await self.do(lambda store: _with_use(store, self.caller.project(store, project)))
        self.answer_object(found, use=use)

    async def patch(self, project: str) -> None:
        fields = self.fields()
        changes, revoke = _changes(fields, self.api.references), fields.flag("revoke_tokens")
        if revoke and changes.get("active") is not False:
            raise invalid("revoke_tokens", "requires is_active=false")
        match = self.match

        def change(store: TokenStore) -> Project:
            with store.connection.transaction():
                etags.hold(store, match, lambda: store.get_project(project))
                found = store.update_project(project, **changes)
                if revoke:
                    store.revoke_tokens(Selection(found.id))
            return found

        self.answer_object(await self.do(change))

    def wrong_method(self) -> ApiError:
        if self.request.method == "DELETE":
            return ApiError(
                405,
                "method_not_allowed",
                "Use GET or PATCH here: project deletion is not permitted, but active=false ends its use.",
            )
        return super().wrong_method()


class ProjectTopup(ApiHandler):
    """``/manage/projects/ID/topup``"""

    takes: ClassVar[Mapping[str, Takes]] = {"POST": {"amount": AMOUNT, **NAMED_OF_PROJECT}}

    async def post(self, project: str) -> None:
        fields = self.fields()
        budget, claimed = model_fields.topup(fields), model_fields.claimed(fields, OF_PROJECT)
        if claimed is not None:
            gauges = await self.do(
                lambda store: store.top_up_claimed(store.get_project(project), *claimed, budget)
            )
            self.answer({claimed[0]: claimed[1], "use": shown(gauges, time.time())}, 201)
            return
        found, use = await self.do(lambda store: _with_use(store, store.top_up_project(project, budget)))
        self.answer_object(found, 201, use=use)


class TokensOfProject(ApiHandler):
    """``/manage/projects/ID/tokens/revoke``"""

    roles: ClassVar[Roles] = {"POST": (PROJECT,)}

    async def post(self, project: str) -> None:
        self.fields()
        revoked, total = await self.do(lambda store: _revoke_all(store, self.caller, project))
        self.answer_list(
            [self.shown(token) for token in revoked], more=reference.revoked_counts(len(revoked), total)
        )


def _revoke_all(store: TokenStore, caller: Caller, project: str) -> tuple[list[Token], int]:
    """Revoke the tokens of a project that are not; returns them, and how many it has."""
    with store.connection.transaction():
        found = caller.project(store, project)
        return store.revoke_tokens(Selection(found.id)), store.count_tokens(found.id)


def _changes(fields: Fields, references: Any) -> dict[str, Any]:
    changes = model_fields.given(fields, Project)
    if "name" in fields:
        changes["name"] = fields.required("name")
    # A form that was left empty keeps the key, as in the reference system.
    if "api_key" in fields and fields.text("api_key") != "":
        changes["api_key"] = fields.api_key("api_key", references)
    for name in ("active", "is_active"):
        if name in fields:
            changes["active"] = fields.required_flag(name)
    return changes


def _with_use(store: TokenStore, project: Project) -> tuple[Project, Any]:
    """Give the project with its use, as ``llmproxy project show`` has it."""
    return project, shown(store.project_use(project), time.time())

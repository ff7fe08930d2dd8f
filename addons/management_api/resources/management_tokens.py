"""Serve ``/manage/management-tokens``: named tokens of this API, for admins alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar

from addons.management_api.fields import invalid
from addons.management_api.handler import ApiHandler, Roles
from addons.management_api.parameters import NAMES_OF_PROJECTS, Takes, moment, required_choice, required_text
from store.core.errors import Invalid
from store.core.secret import Secret
from store.tokens.management_tokens import PROJECT, ROLES, USUAL_LIFETIME, ManagementToken, ManagementTokens
from store.tokens.store import TokenStore


class AllManagementTokens(ApiHandler):
    """Those that have ended, too; their texts are nowhere."""

    roles: ClassVar[Roles] = {}
    takes: ClassVar[Mapping[str, Takes]] = {
        "POST": {
            "name": required_text("What the audit log calls it"),
            "role": required_choice(*ROLES),
            "projects": NAMES_OF_PROJECTS,
            "expires_at": moment("When it ends; 90d where nothing is said; never"),
        }
    }

    async def get(self) -> None:
        self.query()
        found = await self.read(lambda store: _of(store).list())
        self.answer_list([one.as_dict() for one in found])

    async def post(self) -> None:
        """Make one. Its text is in this answer and in no other."""
        fields = self.fields()
        name, role = fields.required("name"), fields.required("role")
        if role not in ROLES:
            raise invalid("role", f"use {', '.join(ROLES)}")
        projects, ends = fields.names("projects") or [], fields.expiry("expires_at")
        if (role == PROJECT) != bool(projects):
            raise invalid("projects", "name those of the role project, and of no other")
        if "expires_at" not in fields:
            ends = datetime.now(UTC) + USUAL_LIFETIME

        def make(store: TokenStore) -> tuple[ManagementToken, Secret]:
            ids = [store.get_project(project).id for project in projects]
            try:
                return _of(store).create(name, role, projects=ids, expires_at=ends)
            except Invalid as error:
                raise invalid("name", str(error).removesuffix(".")) from error

        made, text = await self.do(make)
        self.answer({"token": text.reveal(), **made.as_dict()}, 201)


class OneManagementToken(ApiHandler):
    """``/manage/management-tokens/ID``, by its id or name"""

    roles: ClassVar[Roles] = {}

    async def delete(self, id_or_name: str) -> None:
        """Let it open nothing from the next request on; for good."""
        revoked = await self.do(lambda store: _of(store).revoke(id_or_name))
        self.answer(revoked.as_dict())


def _of(store: TokenStore) -> ManagementTokens:
    return ManagementTokens(store.connection, store.audit)

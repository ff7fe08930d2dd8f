"""``/manage/projects``"""

from __future__ import annotations

import time
from typing import Any

from addons.management_api import labels
from addons.management_api.handler import ApiHandler
from addons.management_api.labels import LABELS
from store.ledger.use import shown
from store.models import Project, Selection
from store.tokens import TokenStore


class Projects(ApiHandler):
    async def get(self) -> None:
        self.query()
        found = await self.do(lambda store: store.list_projects())
        self.answer_list([project.as_dict() for project in found])

    async def post(self) -> None:
        fields = self.fields("name", "api_key", *LABELS)
        name, api_key = fields.required("name"), fields.required("api_key")
        more = labels.given(fields)
        made = await self.do(lambda store: store.create_project(name, api_key, **more))
        self.answer(made.as_dict(), 201)


class OneProject(ApiHandler):
    async def get(self, project: str) -> None:
        self.query()
        self.answer(await self.do(lambda store: _with_use(store, store.get_project(project))))

    async def patch(self, project: str) -> None:
        fields = self.fields("name", "api_key", "active", *LABELS)
        changes = labels.changed(fields)
        changes |= {name: fields.required(name) for name in ("name", "api_key") if name in fields}
        if "active" in fields:
            changes["active"] = fields.required_flag("active")
        self.answer((await self.do(lambda store: store.update_project(project, **changes))).as_dict())


class ProjectTopup(ApiHandler):
    """``/manage/projects/ID/topup``"""

    async def post(self, project: str) -> None:
        budget = labels.topup(self.fields("amount"))
        self.answer(await self.do(lambda store: _with_use(store, store.top_up_project(project, budget))), 201)


class TokensOfProject(ApiHandler):
    """``/manage/projects/ID/tokens/revoke``"""

    async def post(self, project: str) -> None:
        self.fields()
        revoked = await self.do(lambda store: store.revoke_tokens(Selection(project)))
        self.answer_list([token.as_dict() for token in revoked])


def _with_use(store: TokenStore, project: Project) -> dict[str, Any]:
    """As ``llmproxy project show`` has it."""
    return {**project.as_dict(), "use": shown(store.project_use(project), time.time())}

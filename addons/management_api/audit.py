"""``/manage/audit``: what was changed, by whom; refused calls and failed attempts, too."""

from __future__ import annotations

from dataclasses import replace

from addons.management_api.handler import ApiHandler
from store.audit.log import Wanted
from store.audit.record import Record
from store.tokens import TokenStore

EQUAL = ("action", "outcome", "actor", "token_id", "reason", "address")


class Audit(ApiHandler):
    """Newest first."""

    async def get(self) -> None:
        query = self.query(*EQUAL, "project_id", "since", "until", "limit", "after")
        limit, project = query.limit("limit"), query.text("project_id")
        since, until = query.past("since"), query.past("until")
        wanted = Wanted(
            action=query.text("action"),
            outcome=query.text("outcome"),
            actor=query.text("actor"),
            token_id=query.text("token_id"),
            reason=query.text("reason"),
            address=query.text("address"),
            since=None if since is None else int(since.timestamp()),
            until=None if until is None else int(until.timestamp()),
            below=query.natural("after"),
        )

        def find(store: TokenStore) -> list[Record]:
            of = store.get_project(project).id if project is not None else None
            return store.audit.find(replace(wanted, project_id=of), limit=limit + 1)

        found = await self.do(find)
        page = found[:limit]
        self.answer_list([record.shown() for record in page], page[-1].seq if len(found) > limit else None)

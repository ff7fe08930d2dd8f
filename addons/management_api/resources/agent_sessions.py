"""Serve ``/manage/sessions``: sessions of coding agents, what they cost, and more of their budget."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from addons.management_api import model_fields
from addons.management_api.fields import DIGITS, Fields, invalid
from addons.management_api.handler import ApiHandler, Roles
from addons.management_api.parameters import AMOUNT, LIMIT, Takes, moment, required_text, text, texts
from store.ledger import sessions
from store.ledger.account import Gauge
from store.ledger.sessions import Wanted
from store.ledger.use import shown
from store.spool.session_calls import MOST, SessionCalls, calls_of
from store.tokens.management_tokens import PROJECT, READ
from store.tokens.store import TokenStore
from store.usage import recent_calls


class AgentSessions(ApiHandler):
    """Those that were used last, newest first, with the sums of their calls."""

    roles: ClassVar[Roles] = {"GET": (READ, PROJECT)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "GET": {
            "project_id": text("Id or name"),
            **texts("token_id", "session", "after"),
            "since": moment("Used from then on"),
            "until": moment("Used last before then"),
            "limit": LIMIT,
        }
    }

    async def get(self) -> None:
        query = self.query()
        limit, since, until = query.limit("limit"), query.past("since"), query.past("until")
        project, token = query.text("project_id"), query.text("token_id")
        mine = None if self.caller.projects is None else sorted(self.caller.projects)
        wanted = Wanted(
            name=query.text("session"),
            since=None if since is None else int(since.timestamp()),
            until=None if until is None else int(until.timestamp()),
            after=_cursor(query),
            projects=mine,
        )

        def find(store: TokenStore) -> list[dict[str, Any]]:
            those = replace(
                wanted,
                project_id=None if project is None else self.caller.project(store, project).id,
                token_id=None if token is None else self.caller.token_meant(store, token).id,
            )
            return [dict(row) for row in sessions.newest(store.connection, those, limit + 1)]

        found = await self.read(find)
        following = None
        if len(found) > limit:
            last = found[limit - 1]
            following = f"{last['last_at']},{last['token_id']},{last['name']}"
        self.answer_list([sessions.as_dict(row) for row in found[:limit]], following)


class OneAgentSession(ApiHandler):
    """``/manage/sessions/ID``: what it used, what is left of its budget, its calls on record."""

    roles: ClassVar[Roles] = {"GET": (READ, PROJECT)}

    async def get(self, session: str) -> None:
        self.query()

        def read(store: TokenStore) -> tuple[str, str, dict[str, Any] | None, list[Gauge], SessionCalls]:
            token_id, name = sessions.find(store.connection, session, self.caller.projects)
            token = self.caller.token(store, token_id)
            rows = list(sessions.newest(store.connection, Wanted(token_id=token_id, name=name), 1))
            total = sessions.as_dict(rows[0]) if rows else None
            kept = recent_calls.of_session(store.connection, token_id, name, MOST) if name else ()
            found = calls_of(self.api.spool, token_id, name, kept)
            return token_id, name, total, store.session_use(token, name), found

        token_id, name, total, gauges, found = await self.read(read)
        about = {"id": f"{token_id}/{name}" if name else token_id, "session": name, "token": token_id}
        self.answer({**about, "total": total, **found.as_dict(), "use": shown(gauges, time.time())})


class SessionTopup(ApiHandler):
    """``/manage/sessions/topup``: lets an agent's session go on."""

    takes: ClassVar[Mapping[str, Takes]] = {
        "POST": {
            "session": required_text("Its name, or TOKEN/NAME; a token's id for calls that name none"),
            "amount": AMOUNT,
        }
    }

    async def post(self) -> None:
        fields = self.fields()
        text, budget = fields.required("session"), model_fields.topup(fields)
        gauges = await self.do(lambda store: store.top_up_session(text, budget))
        self.answer({"session": text, "use": shown(gauges, time.time())}, 201)


def _cursor(query: Fields) -> tuple[int, str, str] | None:
    given = query.text("after")
    if given is None:
        return None
    at, token_id, name = (*given.split(",", 2), "", "")[:3]
    if not DIGITS.fullmatch(at) or not token_id:
        raise invalid("after", "use what `next` of an answer says")
    return int(at), token_id, name

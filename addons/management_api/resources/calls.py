"""Serve ``/manage/calls``: the latest calls of all proxies, from the store.

What they said is in the spool of the proxy that served them, and nowhere else; where the store keeps no calls
(``llm_recent_calls``), so are they.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import ClassVar

from addons.management_api import errors
from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields, invalid
from addons.management_api.handler import ApiHandler, Roles
from addons.management_api.parameters import LIMIT, Takes, choice, moment, texts
from addons.recording.cost import bill_of
from store.core.event import USAGE_TYPE, UsageEvent
from store.core.event_fields import read_record
from store.core.times import rfc3339
from store.spool.recent import Position, Wanted, find, latest, position, without_content
from store.tokens.management_tokens import ADMIN, PROJECT, READ
from store.usage import recent_calls

EQUAL = ("project_id", "token_id", "model", "endpoint", "outcome", "status", "request_id")
PAGE = 50


class Calls(ApiHandler):
    """Newest first, without what was asked and answered."""

    roles: ClassVar[Roles] = {"GET": (READ, PROJECT)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "GET": {
            **texts(*EQUAL, "user", "session", "after", "behind"),
            "since": moment("Begun from then on"),
            "until": moment("Begun before then"),
            "limit": LIMIT,
        }
    }

    async def get(self) -> None:
        query = self.query()
        limit, since, until = query.limit("limit", PAGE), query.past("since"), query.past("until")
        equal = {name: text for name in EQUAL if (text := query.text(name)) is not None}
        if (project := equal.get("project_id")) is not None:
            equal["project_id"] = (await self.read(lambda store: self.caller.project(store, project))).id
        if (token := equal.get("token_id")) is not None:
            equal["token_id"] = await self.read(lambda store: self.caller.token_id(store, token))
        wanted = Wanted(
            equal,
            query.text("user"),
            query.text("session"),
            None if since is None else rfc3339(since),
            None if until is None else rfc3339(until),
            before=_position(query, "after"),
            behind=_position(query, "behind"),
            projects=self.caller.projects,
        )
        if self.api.settings().recent_calls.calls:
            newest = recent_calls.newest_of(time.time())
            found = await self.read(lambda store: recent_calls.latest(store.connection, wanted, limit))
        else:
            found = await self.read(lambda _: latest(self.api.spool, wanted, limit))
            newest = position(found.calls[0]) if found.calls else wanted.behind or ("", "")
        self.answer(
            {
                "data": found.calls,
                "next": _cursor(position(found.calls[-1])) if found.more and found.calls else None,
                "newest": _cursor(newest),
                "whole": found.whole,
            }
        )


class OneCall(ApiHandler):
    """``/manage/calls/ID``: by its event id or its request id. What was asked and answered is for admins."""

    roles: ClassVar[Roles] = {"GET": (READ, PROJECT)}
    takes: ClassVar[Mapping[str, Takes]] = {"GET": {"content": choice("false", "true")}}

    async def get(self, call_id: str) -> None:
        content = self.query().choice("content", ("false", "true")) == "true"
        if content and self.caller.role != ADMIN:
            raise errors.forbidden()
        prices, mine = self.api.settings().prices, self.caller.projects
        found = await self.read(lambda store: recent_calls.find(store.connection, call_id))
        if found is None or content:
            found = await self.read(lambda _: find(self.api.spool, call_id)) or found
        if found is None or (mine is not None and found.get("project_id") not in mine):
            raise ApiError(
                404,
                "not_found",
                f"There is no call {call_id[:64]!r} on record: it is not over yet, or long ago.",
            )
        bill = None
        if found.get("type") == USAGE_TYPE:
            bill = await asyncio.to_thread(bill_of, read_record(found, UsageEvent), prices)
        self.answer({**(found if content else without_content(found)), "bill": bill})


def _cursor(place: Position) -> str:
    return ",".join(place)


def _position(query: Fields, name: str) -> Position | None:
    text = query.text(name)
    if text is None:
        return None
    at, comma, event_id = text.partition(",")
    if not comma:
        raise invalid(name, "use what `next` or `newest` of an answer says")
    return at, event_id

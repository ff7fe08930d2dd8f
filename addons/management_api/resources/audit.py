"""Serve ``/manage/audit``: what was changed, by whom; refused calls and failed attempts, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from addons.management_api import reference
from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields, invalid
from addons.management_api.handler import ApiHandler, Roles
from addons.management_api.parameters import LIMIT, NATURAL, Parameter, Takes, moment, texts
from store.audit.log import Wanted
from store.audit.record import Record
from store.tokens.management_tokens import PROJECT, READ
from store.tokens.store import TokenStore

EQUAL = (
    *("action", "outcome", "actor", "token_id", "reason", "address"),
    *("request_id", "correlation_id", "method", "path", "search"),
)
OURS = ("limit", "after")
"""Parameters of who pages through our rows, and wants no others beside them."""
PAGE_SIZE, LARGEST_PAGE = 20, 100


class Audit(ApiHandler):
    """Newest first."""

    roles: ClassVar[Roles] = {"GET": (READ, PROJECT)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "GET": {
            **texts(*EQUAL, "project_id", "client_ip"),
            **{name: moment("From then on") for name in ("since", "start_time")},
            **{name: moment("Before then") for name in ("until", "end_time")},
            "limit": LIMIT,
            **dict.fromkeys(("after", "page"), NATURAL),
            "page_size": Parameter({"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE}),
        }
    }

    async def get(self) -> None:
        query = self.query()
        limit, project = query.limit("limit"), query.text("project_id")
        wanted = replace(_wanted(query), below=query.natural("after"))
        page, size = query.natural("page") or 1, query.natural("page_size") or PAGE_SIZE
        if size > LARGEST_PAGE or page > 10**9:
            raise invalid("page_size", f"use 1 to {LARGEST_PAGE}")
        if self.caller.projects is not None:
            wanted = replace(wanted, projects=sorted(self.caller.projects))

        def find(store: TokenStore) -> dict[str, Any]:
            of = None if project is None else self.caller.project(store, project).id
            token = None if wanted.token_id is None else self.caller.token_id(store, wanted.token_id)
            those = replace(wanted, project_id=of, token_id=token)
            answer: dict[str, Any] = {}
            if not self.reference:
                found = store.audit.find(those, limit=limit + 1)
                following = found[limit - 1].seq if len(found) > limit else None
                answer |= {"data": [record.shown() for record in found[:limit]], "next": following}
            if not any(name in query for name in OURS):
                answer |= _page(store, those, page, size)
            return answer

        self.answer(await self.do(find))


class OneAuditEvent(ApiHandler):
    """``/manage/audit/ID``: by its number."""

    roles: ClassVar[Roles] = {"GET": (READ, PROJECT)}

    async def get(self, number: str) -> None:
        self.query()
        if not number.isdecimal() or len(number) > 18:
            raise ApiError(404, "not_found", f"There is no row {number[:40]!r} in the audit log.")
        mine = None if self.caller.projects is None else sorted(self.caller.projects)

        def find(store: TokenStore) -> dict[str, Any]:
            found = store.audit.find(Wanted(seq=int(number), projects=mine), limit=1)
            if not found:
                raise ApiError(404, "not_found", f"There is no row {number} in the audit log.")
            (event,) = _events(store, found)
            return {**found[0].shown(), **event}

        self.answer(await self.do(find))


def _wanted(query: Fields) -> Wanted:
    """Read the filters, by our names and by those of the reference system."""
    since = query.past("since") or query.past("start_time")
    until = query.past("until") or query.past("end_time")
    texts: dict[str, Any] = {name: query.text(name) for name in EQUAL}
    texts["address"] = texts["address"] or query.text("client_ip")
    return Wanted(
        **texts,
        since=None if since is None else int(since.timestamp()),
        until=None if until is None else int(until.timestamp()),
    )


def _page(store: TokenStore, wanted: Wanted, page: int, size: int) -> dict[str, Any]:
    """Make a page as the reference system has it."""
    total = store.audit.count(wanted)
    pages = -(-total // size)
    found = store.audit.find(wanted, limit=size, skip=(page - 1) * size)
    return {
        "events": _events(store, found),
        "pagination": {
            "page": page,
            "page_size": size,
            "total_count": total,
            "total_pages": pages,
            "has_next": page < pages,
            "has_prev": page > 1,
        },
    }


def _events(store: TokenStore, found: Sequence[Record]) -> list[dict[str, Any]]:
    requests = store.audit.requests([record.seq for record in found])
    return [reference.audit_event(record, requests.get(record.seq)) for record in found]

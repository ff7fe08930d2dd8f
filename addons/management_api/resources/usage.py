"""Serve ``/manage/usage`` and ``/manage/budgets``: what was used, and what is left."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, ClassVar

from addons.management_api.handler import ApiHandler, Roles
from addons.management_api.parameters import LIMIT, NATURAL, Takes, choice, moment, text, texts
from addons.management_api.ways import TOP, TOP_OVER_TIME, ways_of
from store.tokens.management_tokens import PROJECT, READ
from store.tokens.store import TokenStore
from store.usage.breakdown import Question, break_down
from store.usage.csv_text import write_csv
from store.usage.reports import TIMES, budgets
from store.usage.reports import Usage as Asked

FORMS = ("json", "csv")


class Usage(ApiHandler):
    roles: ClassVar[Roles] = {"GET": (READ, PROJECT)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "GET": {
            "by": text(
                "project, token, user, model, endpoint, hour, day, week, month, label:NAME; with commas"
            ),
            "since": moment("In whole hours, from then on"),
            "until": moment("In whole hours, before then"),
            "tz": text("Time zone of days: Europe/Berlin; UTC"),
            "compare": choice("false", "true"),
            "top": LIMIT,
            "format": choice(*FORMS),
            **texts("project_id", "token_id"),
        }
    }

    async def get(self) -> None:
        query = self.query()
        ways, form = ways_of(query, "project"), query.choice("format", FORMS)
        top = query.limit("top", TOP_OVER_TIME if set(ways) & set(TIMES) else TOP)
        compare, zone = query.choice("compare", ("false", "true")) == "true", query.zone("tz")
        since, until = query.past("since", zone), query.past("until", zone)
        project, token = query.text("project_id"), query.text("token_id")

        def find(store: TokenStore) -> dict[str, Any]:
            asked = Asked(
                ways,
                since,
                until,
                None if project is None else self.caller.project(store, project).id,
                None if token is None else self.caller.token_meant(store, token).id,
                zone,
                None if self.caller.projects is None else sorted(self.caller.projects),
            )
            return break_down(store.connection, Question(asked, top, compare), datetime.now(UTC))

        found = await self.read(find)
        if form == "csv":
            self.answer_csv(found["data"])
        else:
            self.answer(found)

    def answer_csv(self, rows: list[dict[str, Any]]) -> None:
        text = io.StringIO()
        write_csv(text, [_flat(row) for row in rows])
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="usage.csv"')
        self.finish(text.getvalue())


class Budgets(ApiHandler):
    """The fullest first."""

    roles: ClassVar[Roles] = {"GET": (READ, PROJECT)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "GET": {"project_id": text("Id or name"), "limit": LIMIT, "after": NATURAL}
    }

    async def get(self) -> None:
        query = self.query()
        project, limit, after = query.text("project_id"), query.limit("limit"), query.natural("after") or 0

        def find(store: TokenStore) -> list[dict[str, Any]]:
            of = None if project is None else self.caller.project(store, project).id
            found: Iterator[dict[str, Any]] = budgets(store.connection, time.time(), project_id=of)
            if (mine := self.caller.projects) is not None:
                found = (row for row in found if row["project"] in mine)
            return list(islice(found, after, after + limit + 1))

        found = await self.read(find)
        self.answer_list(found[:limit], after + limit if len(found) > limit else None)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Give what was before in columns of its own."""
    before = row.pop("before", None) or {}
    return row | {f"before_{name}": value for name, value in before.items()}

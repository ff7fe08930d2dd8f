"""Serve ``/manage/prices``, ``/manage/explain`` and ``/manage/health``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from addons.explanation import HOST, Question, explain
from addons.management_api.handler import ApiHandler, Roles
from addons.management_api.parameters import OBJECT, PAIRS_OF_TEXT, Takes, moment, required_text, text, texts
from addons.openai.pricing.price_list import list_prices
from store.database.engine import Connection
from store.prices.lists import find_newest
from store.tokens.management_tokens import PROJECT, READ
from store.tokens.models import Grant
from store.tokens.store import TokenStore
from store.upkeep.fleet import elsewhere
from store.upkeep.overview import local_writers, overview
from store.usage.reports import models_of_calls

USUAL = timedelta(days=30)


class Prices(ApiHandler):
    """Of the models that were called, or of one that is named."""

    roles: ClassVar[Roles] = {"GET": (READ, PROJECT)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "GET": {
            **texts("model", "host", "tier"),
            "since": moment("Called since then"),
            "at": moment("Prices of then"),
        }
    }

    async def get(self) -> None:
        query = self.query()
        now, prices = datetime.now(UTC), self.api.settings().prices
        since, at, model = query.past("since") or now - USUAL, query.past("at") or now, query.text("model")
        host, tier = query.text("host") or HOST, query.text("tier")

        def find(store: TokenStore) -> dict[str, Any]:
            called = models_of_calls(store.connection, since, self.caller.projects)
            if model is not None:
                called = [row for row in called if row[0] == model] or [(model, 0, 0)]
            newest = find_newest(store.connection)
            return {
                "list": None if newest is None else newest.as_json(),
                "own": prices.name or None,
                "data": list(list_prices(prices, called, at=at, host=host, tier=tier)),
            }

        self.answer(await self.read(find))


class Explain(ApiHandler):
    """Whether a call would pass, by the gate's own checks and this proxy's options; takes nothing."""

    roles: ClassVar[Roles] = {"POST": (READ, PROJECT)}
    takes: ClassVar[Mapping[str, Takes]] = {
        "POST": {
            "token_id": required_text(),
            "endpoint": text("As in docs/endpoints.md; chat"),
            "model": text(),
            "client": text("Its IP address"),
            "body": OBJECT,
            "request_metadata": PAIRS_OF_TEXT,
        }
    }

    async def post(self) -> None:
        fields = self.fields()
        token_id = fields.required("token_id")
        asked = Question(
            fields.text("endpoint") or Question().endpoint,
            fields.text("model"),
            fields.address("client"),
            fields.object("body"),
            fields.pairs("request_metadata")({}),
        )
        settings, history = self.api.settings(), self.api.history()

        def answer(db: Connection, grant: Grant) -> dict[str, Any]:
            return explain(db, grant, asked, settings, history)

        def ask(store: TokenStore) -> dict[str, Any]:
            return store.explained(self.caller.token_meant(store, token_id).id, answer)

        self.answer(await self.read(ask))


class Health(ApiHandler):
    """All proxies on the store, the dispatchers on their spools, and what is wrong with them."""

    async def get(self) -> None:
        self.query()
        settings = self.api.settings()
        here = await asyncio.to_thread(local_writers, settings.spool)
        others = await self.read(lambda store: elsewhere(store.connection, here))
        self.answer(await asyncio.to_thread(overview, settings.store, settings.spool, others=others))

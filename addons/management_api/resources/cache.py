"""Serve ``/manage/cache/purge``: remove answers from the cache of all proxies on the store."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import ClassVar

from addons.caching.key import target_of
from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields
from addons.management_api.handler import ApiHandler
from addons.management_api.parameters import FLAG, Parameter, Takes, texts
from store.cache import purges
from store.cache.purge import Purge
from store.core.urls import split_url
from store.tokens.store import TokenStore

KEY = re.compile(r"[0-9a-f]{1,64}")


class CachePurge(ApiHandler):
    """Of one request (`method` and `url`), of what begins alike (`prefix`), of a key or project, or all."""

    takes: ClassVar[Mapping[str, Takes]] = {
        "POST": {
            **texts("method", "url", "key", "project_id"),
            "prefix": Parameter({"type": ["string", "boolean", "null"]}),
            "all": FLAG,
        }
    }

    async def post(self) -> None:
        if (cache := self.api.cache()) is None:
            raise ApiError(
                400, "caching_disabled", "Caching is disabled; the proxy's option llm_cache is off."
            )
        fields = self.fields()
        project, wanted = fields.text("project_id"), _purge(fields)

        def purge(store: TokenStore) -> int:
            whose = None if project is None else store.get_project(project).id
            order = wanted.of_project(whose)
            try:
                return cache.purge(order)
            finally:  # for all other proxies, and for a place that does not answer now
                purges.order(store.connection, store.audit, order)

        deleted = await self.do(purge)
        is_exact = not wanted.prefix and (wanted.key or wanted.target)
        self.answer({"deleted": deleted > 0 if is_exact else deleted})


def _purge(fields: Fields) -> Purge:
    """Read what is to go; a prefix is a text, or true for all that begins as `url` does."""
    now = time.time()
    key, method, url = fields.text("key"), fields.text("method"), fields.text("url")
    prefix, whole = fields.either("prefix"), fields.flag("all")
    if isinstance(prefix, str) and prefix:
        if prefix.startswith("/"):
            return Purge(now, target=prefix, prefix=True)
        return Purge(now, key=_key(prefix, "prefix"), prefix=True)
    if key is not None:
        return Purge(now, key=_key(key, "key"))
    if method and url:
        target = _target(url) if prefix is True else target_of(_target(url))
        return Purge(now, method=method.upper(), target=target, prefix=prefix is True)
    if method or url or not (whole or "project_id" in fields):
        raise ApiError(
            400,
            "invalid_value",
            "method and url are required; or give prefix, key, project_id, or all: true.",
            "url" if method else "method",
        )
    return Purge(now)


def _key(text: str, name: str) -> str:
    if not KEY.fullmatch(text):
        raise ApiError(400, "invalid_value", f"{name}: use a path, or hexadecimal digits of a key.", name)
    return text


def _target(url: str) -> str:
    parts = split_url(url)
    if not parts.path.startswith("/"):
        raise ApiError(
            400, "invalid_value", "url: invalid URL; use one, or a path such as /v1/models.", "url"
        )
    return f"{parts.path}?{parts.query}" if parts.query else parts.path

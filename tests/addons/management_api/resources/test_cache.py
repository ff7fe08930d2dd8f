"""``POST /manage/cache/purge``, also as other proxies' clients write it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from addons.caching.answers import AnswerCache
from addons.caching.settings import CacheSettings
from store.audit.log import Wanted
from store.cache.purges import OrderedPurges
from store.cache.worker import CacheWorker
from store.database.engines import engine_of
from tests.addons.management_api.conftest import Served
from tests.store.cache.test_places import entry
from tests.store.cache.test_worker import Fake


@pytest.fixture
def cache(served: Served) -> AnswerCache:
    made = AnswerCache(CacheSettings(place="memory"))
    served.cache.append(made)
    now = time.time() - 1
    project = served.store.create_project("acme", "sk-0123456789abcdefghij")
    for key, target, method, whose in (
        ("aa1", "/v1/models?a=1&b=2", "GET", project.id),
        ("aa2", "/v1/chat/completions", "POST", project.id),
        ("bb1", "/v1/chat/completions", "POST", "other"),
        ("bb2", "/v1/chat/completions?x=1", "POST", "other"),
    ):
        made.memory.put(key, entry(whose, target, method=method, requested_at=now))
    return made


@pytest.mark.parametrize(
    ("fields", "deleted", "left"),
    [
        ({"method": "GET", "url": "/v1/models?b=2&a=1"}, True, 3),
        ({"method": "get", "url": "https://proxy.example/v1/models?b=2&a=1"}, True, 3),
        ({"method": "POST", "url": "/v1/chat/completions"}, True, 2),
        ({"method": "GET", "url": "/v1/chat/completions"}, False, 4),
        ({"method": "POST", "url": "/v1/chat", "prefix": True}, 3, 1),
        ({"method": "GET", "url": "/v1/models", "prefix": "/v1/"}, 4, 0),
        ({"method": "GET", "url": "/v1/models", "prefix": "aa"}, 2, 2),
        ({"method": "POST", "url": "/v1/chat/completions", "project_id": "acme"}, True, 3),
        ({"key": "bb1"}, True, 3),
        ({"key": "cc"}, False, 4),
        ({"project_id": "acme"}, 2, 2),
        ({"all": True}, 4, 0),
    ],
)
def test_purges(served: Served, cache: AnswerCache, fields: dict[str, Any], deleted: Any, left: int) -> None:
    assert served.post("/cache/purge", **fields) == {"deleted": deleted}
    assert len(cache.memory) == left
    (order,) = OrderedPurges(engine_of(served.store.location)).new()
    assert cache.purge(order) == 0, "the other proxies are told the same"
    assert [record.action for record in served.store.audit.find(Wanted(action="cache"), limit=9)] == [
        "cache.purge"
    ]


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({}, 400, "method and url are required"),
        ({"method": "GET"}, 400, "method and url are required"),
        ({"url": "/v1/models"}, 400, "method and url are required"),
        ({"method": "GET", "url": "v1"}, 400, "invalid URL"),
        ({"method": "GET", "url": "http://[x/"}, 400, "invalid URL"),
        ({"key": "xyz"}, 400, "hexadecimal"),
        ({"prefix": 5}, 400, "true or false"),
        ({"project_id": "nobody"}, 404, "no project"),
    ],
)
def test_what_is_wrong_is_said(
    served: Served, cache: AnswerCache, fields: dict[str, Any], status: int, said: str
) -> None:
    assert said in served.post("/cache/purge", status, **fields)["error"]["message"]
    assert len(cache.memory) == 4


def test_a_purge_that_the_place_cannot_do_now_is_ordered(served: Served) -> None:
    place = Fake()
    place.fails = True
    made = AnswerCache(CacheSettings(place="redis://x"), CacheWorker(place))
    served.cache.append(made)
    assert "away" in served.post("/cache/purge", 503, all=True)["error"]["message"]
    assert len(OrderedPurges(engine_of(served.store.location)).new()) == 1
    made.close()


def test_without_a_cache(served: Served) -> None:
    error = served.post("/cache/purge", 400, all=True)["error"]
    assert error["code"] == "caching_disabled"

"""Memory first, the place behind it then, and never longer than a call may wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from addons.caching import answers
from addons.caching.answers import AnswerCache
from addons.caching.settings import CacheSettings
from addons.flow.cache_use import MISS, CacheUse
from store.cache.entry import Entry
from store.cache.places import place_of
from store.cache.purge import Purge
from store.cache.worker import CacheWorker
from tests.store.cache.test_places import entry
from tests.store.cache.test_worker import Fake

USE = CacheUse(MISS, "uri-miss", key="k")
GZIP = [("accept-encoding", "gzip")]


def over(file: Path) -> AnswerCache:
    place = place_of(f"sqlite:{file}", most_entries=10, most_bytes=2**20)
    return AnswerCache(CacheSettings(place=f"sqlite:{file}"), CacheWorker(place))


def find(cache: AnswerCache, request: Sequence[tuple[str, str]] = ()) -> Entry | None:
    return asyncio.run(cache.find("k", request, "token"))


def test_processes_share_a_place_and_it_outlives_them(tmp_path: Path) -> None:
    first, second = over(tmp_path / "cache.db"), over(tmp_path / "cache.db")
    kept = entry(headers=(("content-encoding", "gzip"),))
    first.keep(USE, kept, GZIP, "token")
    assert find(first, GZIP) == kept
    first.close()
    assert find(second, GZIP) == kept
    assert find(second) is None, "a variant of it"
    assert len(second.memory) == 2
    second.close()
    third = over(tmp_path / "cache.db")
    assert third.purge(Purge(time.time())) == 1
    assert find(third, GZIP) is None
    third.close()


def test_a_purge_holds_for_what_was_under_way(tmp_path: Path) -> None:
    cache = over(tmp_path / "cache.db")
    before = entry(requested_at=time.time())
    cache.purge(Purge(time.time(), target="/v1/models"))
    cache.keep(USE, before, [], "token")
    assert find(cache) is None
    cache.keep(USE, entry(requested_at=time.time()), [], "token")
    assert find(cache) is not None
    cache.close()


def test_a_slow_place_delays_no_call_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Fake):
        def get(self, keys: Sequence[str]) -> dict[str, Entry]:
            time.sleep(0.5)
            return super().get(keys)

    monkeypatch.setattr(answers, "LOOK_SECONDS", 0.05)
    cache = AnswerCache(CacheSettings(place="redis://x"), CacheWorker(Slow()))
    begun = time.monotonic()
    assert find(cache) is None
    assert time.monotonic() - begun < 0.4
    begun = time.monotonic()
    for _ in range(20):
        assert find(cache) is None
    assert time.monotonic() - begun < 0.2, "it is not asked for a while"
    assert cache.results["slow"] == 1
    cache.close()


def test_a_place_that_has_ended_is_a_miss() -> None:
    cache = AnswerCache(CacheSettings(place="redis://x"), CacheWorker(Fake()))
    cache.close()
    assert find(cache) is None
    assert cache.results["failed"] == 1

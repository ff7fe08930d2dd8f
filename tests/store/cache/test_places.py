"""Every place keeps, finds, forgets and purges alike."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from store.cache.entry import FORM, Entry, decode, encode
from store.cache.memory import MemoryCache
from store.cache.places import place_of, shown
from store.cache.purge import Purge
from store.cache.worker import Place
from store.core.errors import Invalid
from tests.store.engines import unless_ci

REDIS = os.environ.get("LLMPROXY_TEST_REDIS", "redis://127.0.0.1:6379/0")
NOW = time.time()
DAY = 86_400.0
"""Longer than a run of all tests takes, which begins at NOW."""


def entry(project: str = "p", target: str = "/v1/models", **fields: Any) -> Entry:
    given = {"requested_at": NOW, "stored_at": NOW, "lifetime": DAY, "body": b"answer", **fields}
    return Entry(FORM, project, given.pop("method", "GET"), target, **given)


class Memory:
    """The memory, asked as a place is."""

    def __init__(self) -> None:
        self._memory = MemoryCache(100, 2**20)
        self.tidy = self.close = lambda: None

    def get(self, keys: list[str]) -> dict[str, Entry]:
        found = {key: self._memory.get(key, time.time()) for key in keys}
        return {key: entry for key, entry in found.items() if entry is not None}

    def put(self, entries: list[tuple[str, Entry]]) -> None:
        for key, kept in entries:
            self._memory.put(key, kept)

    def purge(self, purge: Purge) -> int:
        return self._memory.purge(purge)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def cache_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield Memory()
        return
    name = f"sqlite:{tmp_path / 'sub' / 'cache.db'}"
    if request.param == "redis":
        redis = pytest.importorskip("redis", reason="redis-py is not installed (llmproxy[redis])")
        try:
            redis.Redis.from_url(REDIS).ping()
        except redis.RedisError:
            unless_ci(f"there is no Redis at {REDIS}")
        name = f"{REDIS}?prefix=test:{os.getpid()}:{time.time_ns()}:"
    made = place_of(name, most_entries=100, most_bytes=2**20)
    assert made is not None
    yield made
    made.purge(Purge(time.time() + 10))
    made.close()


def test_what_is_kept_is_found(cache_place: Place) -> None:
    kept = entry(headers=(("Content-Type", "application/json"), ("x", "ä")), body=b"\x00\xff", varies=None)
    index = entry(varies=("accept",), body=b"")
    cache_place.put([("a", kept), ("b", index)])
    assert cache_place.get(["a", "b", "c"]) == {"a": kept, "b": index}
    cache_place.put([("a", index)])
    assert cache_place.get(["a"]) == {"a": index}
    assert cache_place.get(["c"]) == {}


def test_what_is_over_is_not_found(cache_place: Place) -> None:
    stale = entry(lifetime=1.0, stored_at=NOW - 5)
    cache_place.put([("a", stale), ("b", msgspec.structs.replace(stale, headers=(("ETag", '"1"'),)))])
    assert list(cache_place.get(["a", "b"])) == ["b"], "upstream can confirm it"


@pytest.mark.parametrize(
    ("purge", "left"),
    [
        (Purge(NOW), ""),
        (Purge(NOW - 1), "abcd"),
        (Purge(NOW, project_id="p"), "d"),
        (Purge(NOW, key="a"), "bcd"),
        (Purge(NOW, method="POST"), "abd"),
        (Purge(NOW, method="GET", target="/v1/models"), "bc"),
        (Purge(NOW, target="/v1/mod", prefix=True), "c"),
        (Purge(NOW, target="/v1/models", prefix=True, project_id="q"), "abc"),
        (Purge(NOW, target="/v1/mod"), "abcd"),
        (Purge(NOW, target="%", prefix=True), "abcd"),
    ],
)
def test_purges(cache_place: Place, purge: Purge, left: str) -> None:
    cache_place.put(
        [
            ("a", entry()),
            ("b", entry(target="/v1/models?a=1")),
            ("c", entry(target="/v1/chat/completions", method="POST")),
            ("d", entry("q")),
        ]
    )
    assert cache_place.purge(purge) == 4 - len(left)
    assert "".join(sorted(cache_place.get(list("abcd")))) == left


def test_a_list_of_variants_is_no_answer(cache_place: Place) -> None:
    cache_place.put([("a", entry(varies=("x",))), ("b", entry())])
    assert cache_place.purge(Purge(NOW)) == 1
    assert cache_place.get(["a", "b"]) == {}


def test_a_purge_by_the_beginning_of_a_key(cache_place: Place) -> None:
    cache_place.put([("abc", entry()), ("abd", entry()), ("b", entry())])
    assert cache_place.purge(Purge(NOW, key="ab", prefix=True)) == 2
    assert list(cache_place.get(["abc", "abd", "b"])) == ["b"]


def test_a_sqlite_file_keeps_its_bounds_and_outlives_its_process(tmp_path: Path) -> None:
    file = tmp_path / "cache.db"
    place = place_of(f"sqlite:{file}", most_entries=150, most_bytes=2**20)
    assert place is not None
    place.put([(f"k{number}", entry()) for number in range(300)])
    place.tidy()
    place.close()
    again = place_of(f"sqlite:{file}", most_entries=150, most_bytes=2**20)
    assert again is not None
    assert 0 < len(again.get([f"k{number}" for number in range(300)])) <= 150
    again.close()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_place_that_is_none_is_an_error_that_says_so(tmp_path: Path) -> None:
    folder = place_of(f"sqlite:{tmp_path}", most_entries=1, most_bytes=1)
    assert folder is not None
    with pytest.raises(OSError, match="unable to open"):
        folder.get(["a"])
    away = place_of("redis://127.0.0.1:1/0", most_entries=1, most_bytes=1)
    assert away is not None
    with pytest.raises(OSError, match="Redis"):
        away.get(["a"])


@pytest.mark.parametrize("name", ["", "disk", "sqlite:", "redis", "http://user:secret@host/"])
def test_names_of_places(name: str) -> None:
    with pytest.raises(Invalid, match="use memory, sqlite:PATH or redis://HOST") as caught:
        place_of(name, most_entries=1, most_bytes=1)
    assert "secret" not in str(caught.value)
    assert place_of("memory", most_entries=1, most_bytes=1) is None
    assert shown("redis://user:secret@host/1") == "redis://host/1"


def test_what_another_version_has_written_is_a_miss() -> None:
    assert decode(encode(entry())) == entry()
    assert decode(encode(msgspec.structs.replace(entry(), form=FORM + 1))) is None
    assert decode(b"damaged") is None


def test_memory_counts_bytes_and_gives_up_the_oldest() -> None:
    one = entry(body=b"x" * 1000)
    memory = MemoryCache(100, 3 * one.size)
    for key in "abc":
        memory.put(key, one)
    assert memory.get("a", NOW) is not None
    memory.put("d", one)
    assert [key for key in "abcd" if memory.get(key, NOW)] == ["a", "c", "d"]
    assert memory.bytes == 3 * one.size
    memory.put("e", entry(body=b"x" * 10_000))
    assert memory.get("e", NOW) is None
    memory.purge(Purge(NOW))
    assert (memory.bytes, len(memory)) == (0, 0)

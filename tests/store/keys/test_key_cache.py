"""Keys in a proxy's memory, with a clock that the tests move."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from store.core.errors import KeyUnavailable
from store.core.secret import Secret
from store.keys import key_cache, key_references
from store.keys.key_cache import KeyCache
from store.tokens.store import TokenStore

KEY = "sk-live-1234567890"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(key_cache, "time", clock)
    return clock


@pytest.fixture
def cache(path: Path, store: TokenStore, clock: Clock) -> Iterator[KeyCache]:
    cache = KeyCache(path)
    yield cache
    cache.close()


class Source:
    """A key that is kept elsewhere."""

    def __init__(self) -> None:
        self.key: str | None = KEY
        self.reads = 0
        self.open = threading.Event()
        self.open.set()

    def read(self, name: str) -> str:
        assert self.open.wait(20)
        self.reads += 1
        if self.key is None:
            raise KeyUnavailable(f"env:{name}: out of order")
        return self.key


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    source = Source()
    monkeypatch.setitem(key_references.SOURCES, "env", source.read)
    return source


def settled(cache: KeyCache, store: TokenStore, name: str = "acme") -> str:
    """The key, whether at once or after the reading."""
    found = cache.get(store.get_project(name))
    return (found if isinstance(found, Secret) else found.result(20)).reveal()


def finish_reading(cache: KeyCache, store: TokenStore) -> None:
    reading = cache._entries[store.get_project("acme").id].reading
    assert reading
    reading.exception(20)


def test_an_encrypted_key_is_decrypted_once(
    store: TokenStore, cache: KeyCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[threading.Thread] = []

    def read(self: KeyCache, *arguments: Any) -> Secret:
        readers.append(threading.current_thread())
        return plain_read(self, *arguments)

    plain_read = KeyCache._read
    monkeypatch.setattr(KeyCache, "_read", read)
    project = store.create_project("acme", KEY)
    assert settled(cache, store) == KEY
    assert len(readers) == 1
    assert readers != [threading.current_thread()], "another thread does it"
    clock.now += 1e6
    assert cache.get(project) is cache.get(store.update_project("acme", name="acme"))
    store.update_project("acme", api_key="sk-new")
    assert settled(cache, store) == "sk-new"


def test_a_rotation_is_followed(store: TokenStore, cache: KeyCache) -> None:
    store.create_project("acme", KEY)
    assert settled(cache, store) == KEY
    store.keys.rotate()
    store.create_project("other", "sk-other")
    assert settled(cache, store, "other") == "sk-other"
    assert settled(cache, store) == KEY


def test_a_reference_is_read_again_behind_the_calls(
    store: TokenStore, cache: KeyCache, clock: Clock, source: Source
) -> None:
    store.create_project("acme", "env:KEY")
    assert [settled(cache, store) for _ in range(3)] == [KEY] * 3
    assert source.reads == 1
    clock.now += key_cache.REFRESH_SECONDS + 1
    source.key = "sk-next"
    source.open.clear()
    assert settled(cache, store) == settled(cache, store) == KEY, "no call waits"
    source.open.set()
    finish_reading(cache, store)
    assert settled(cache, store) == "sk-next"
    assert source.reads == 2
    source.key = "sk-third"
    store.update_project("acme", api_key="env:KEY")
    assert settled(cache, store) == "sk-third", "setting it again has it read at once"


def test_many_calls_wait_for_one_reading(store: TokenStore, cache: KeyCache, source: Source) -> None:
    project = store.create_project("acme", "env:KEY")
    source.open.clear()
    waiting = [cache.get(project) for _ in range(50)]
    assert not any(isinstance(found, Secret) for found in waiting)
    source.open.set()
    assert settled(cache, store) == KEY
    assert source.reads == 1


def test_a_source_that_fails(
    store: TokenStore,
    cache: KeyCache,
    clock: Clock,
    source: Source,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store.create_project("acme", "env:KEY")
    source.key = None
    for _ in range(20):
        with pytest.raises(KeyUnavailable, match="out of order"):
            settled(cache, store)
    assert source.reads == 1, "a flood of calls is not one of readings"
    assert caplog.messages == [
        "llmproxy: the key of project 'acme': env:KEY: out of order (calls are refused)"
    ]
    clock.now += key_cache.RETRY_SECONDS + 1
    source.key = KEY
    assert settled(cache, store) == KEY


def test_a_known_key_outlives_its_source_for_a_while(
    store: TokenStore, cache: KeyCache, clock: Clock, source: Source
) -> None:
    store.create_project("acme", "env:KEY")
    assert settled(cache, store) == KEY
    source.key = None
    clock.now += key_cache.REFRESH_SECONDS + 1
    assert settled(cache, store) == KEY
    finish_reading(cache, store)
    clock.now += key_cache.GRACE_SECONDS - 10
    assert settled(cache, store) == KEY
    finish_reading(cache, store)
    clock.now += 20
    with pytest.raises(KeyUnavailable):
        settled(cache, store)


def test_what_is_not_foreseen_is_refused_too(
    store: TokenStore, cache: KeyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> str:
        raise RuntimeError(name)

    monkeypatch.setitem(key_references.SOURCES, "env", broken)
    store.create_project("acme", "env:KEY")
    with pytest.raises(KeyUnavailable, match="RuntimeError"):
        settled(cache, store)

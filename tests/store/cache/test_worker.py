"""The thread before a place: what fails or is slow there is a miss, and purges are never lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from store.cache import purges, worker
from store.cache.entry import Entry
from store.cache.purge import Purge
from store.cache.purges import OrderedPurges
from store.cache.worker import CacheWorker
from store.core.errors import StoreUnavailable
from store.database.engines import engine_of
from store.tokens.store import TokenStore
from tests.store.cache.test_places import NOW, entry


class Fake:
    """A place in memory that can fail."""

    def __init__(self) -> None:
        self.kept: dict[str, Entry] = {}
        self.purged: list[Purge] = []
        self.fails = False

    def _may_fail(self) -> None:
        if self.fails:
            raise OSError("away")

    def get(self, keys: Sequence[str]) -> dict[str, Entry]:
        self._may_fail()
        return {key: self.kept[key] for key in keys if key in self.kept}

    def put(self, entries: Sequence[tuple[str, Entry]]) -> None:
        self._may_fail()
        self.kept.update(entries)

    def purge(self, purge: Purge) -> int:
        self._may_fail()
        self.purged.append(purge)
        return 1

    def tidy(self) -> None:
        self._may_fail()

    def close(self) -> None:
        pass


class Orders:
    def __init__(self) -> None:
        self.waiting: list[Purge] = []

    def new(self) -> Sequence[Purge]:
        found, self.waiting = self.waiting, []
        return found

    def close(self) -> None:
        pass


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.02)


def test_a_place_that_fails_is_a_miss_until_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    place = Fake()
    thread = CacheWorker(place)
    thread.start()
    thread.keep("a", entry())
    assert thread.look("a").result(10) == entry()
    place.fails = True
    assert thread.look("a").result(10) is None
    thread.keep("b", entry())
    with pytest.raises(StoreUnavailable, match="away"):
        thread.purge(Purge(NOW))
    place.fails = False
    assert thread.look("a").result(10) == entry()
    thread.close()
    assert sum("cannot be used" in message for message in caplog.messages) == 1
    with pytest.raises(StoreUnavailable):
        thread.look("a").result(10)


def test_ordered_purges_are_carried_out_here_and_there_though_it_fails_at_first() -> None:
    place, orders, heard = Fake(), Orders(), []
    place.fails = True
    thread = CacheWorker(place, orders)
    thread.on_purge = heard.append
    orders.waiting = [Purge(NOW, key="a"), Purge(NOW, key="b")]
    thread.start()
    until(lambda: len(heard) == 2)
    assert place.purged == []
    place.fails = False
    until(lambda: len(place.purged) == 2)
    assert [purge.key for purge in place.purged] == ["a", "b"]
    thread.close()


def test_with_too_much_waiting_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MOST_WAITING", 1)
    thread = CacheWorker(Fake())
    waiting = [thread.look("a") for _ in range(5)]
    assert [question.done() for question in waiting] == [False, False, True, True, True]
    thread.start()
    assert waiting[0].result(10) is None
    thread.close()


def test_orders_in_the_store(tmp_path: Path) -> None:
    store = TokenStore.open(tmp_path / "store.db")
    project = store.create_project("acme", "sk-0123456789abcdefghij")
    first, second = (OrderedPurges(engine_of(store.location)) for _ in range(2))
    assert first.new() == []
    purge = Purge(NOW, project.id, None, "GET", "/v1/models", prefix=True)
    purges.order(store.connection, store.audit, purge)
    purges.order(store.connection, store.audit, Purge(NOW))
    heard = first.new()
    assert [(one.project_id, one.method, one.target, one.prefix) for one in heard] == [
        (project.id, "GET", "/v1/models", True),
        (None, None, None, False),
    ]
    assert NOW <= heard[0].until <= NOW + 0.002
    assert first.new() == []
    assert second.new() == heard, "a proxy that starts later hears of them, too"
    first.close()
    second.close()
    store.close()

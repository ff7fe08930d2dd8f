"""A store's newest list reaches a running proxy."""

from __future__ import annotations

import threading
from pathlib import Path

from addons.openai.pricing.prices import Prices
from addons.recording.price_watch import PriceWatch
from store.database.engines import engine_of
from store.prices.lists import PriceLists
from store.tokens.store import TokenStore

CONTENT = '[{"id":"openai","models":[{"id":"x","prices":{"input_mtok":1}}]}]'


class Taken:
    """Lists that were handed on."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.changed = threading.Event()

    def __call__(self, listed: Prices) -> None:
        self.names.append(listed.name)
        self.changed.set()


def add(store: TokenStore, name: str, content: str = CONTENT) -> None:
    PriceLists(store.connection, store.audit).add(name, "x.json", content, {})


def test_the_list_that_is_there_is_taken_at_once_and_a_new_one_soon(tmp_path: Path) -> None:
    store = TokenStore.open(tmp_path / "store.db")
    add(store, "prices/first")
    taken = Taken()
    watch = PriceWatch(engine_of(tmp_path / "store.db"), taken)
    watch.start()
    try:
        assert taken.names == ["prices/first"]
        taken.changed.clear()
        add(store, "prices/broken", "not json")
        add(store, "prices/second")
        assert taken.changed.wait(20)
        assert taken.names == ["prices/first", "prices/second"]
    finally:
        watch.close()
        store.close()


def test_a_store_that_is_away_is_asked_again(tmp_path: Path) -> None:
    taken = Taken()
    watch = PriceWatch(engine_of(tmp_path / "store.db"), taken)
    watch.start()
    try:
        assert taken.names == []
        store = TokenStore.open(tmp_path / "store.db")
        add(store, "prices/late")
        assert taken.changed.wait(20)
        assert taken.names == ["prices/late"]
        store.close()
    finally:
        watch.close()

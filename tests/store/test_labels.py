"""Metadata of projects and tokens, and the names that clients may add, on every engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from store.core.errors import Invalid
from store.database.location import StoreLocation
from store.tokens.lookups import lookup_of
from store.tokens.models import TokenOrder
from store.tokens.store import TokenStore
from tests.store.engines import found, let_it_hold

KEY = "sk-live-1234567890"


def test_labels_round_trip(store: TokenStore) -> None:
    project = store.create_project("acme", KEY, metadata={"env": "Prüfung"}, header_metadata=["Session-Id"])
    assert (dict(project.metadata), project.header_metadata) == ({"env": "Prüfung"}, ("session_id",))
    assert store.get_project("acme") == project
    token, _ = store.create_token("acme", metadata={"team": "a"}, header_metadata=["b", "a", "B"])
    assert (dict(token.metadata), token.header_metadata) == ({"team": "a"}, ("a", "b"))
    changed = store.update_token(token.id, header_metadata=lambda names: [*names, "c"])
    assert changed.header_metadata == ("a", "b", "c")
    assert store.update_token(token.id, header_metadata=[]).header_metadata == ()
    assert dict(store.update_project("acme", metadata={}).metadata) == {}
    with pytest.raises(Invalid, match="header metadata 'a b'"):
        store.update_project("acme", header_metadata=["a b"])


def test_a_changed_label_holds_for_every_proxy(store: TokenStore, place: StoreLocation) -> None:
    store.create_project("acme", KEY)
    token, secret = store.create_token("acme", metadata={"team": "own"})
    text = secret.reveal()
    lookup = lookup_of(place)
    try:
        let_it_hold(place)
        grant = found(lookup, text)
        assert grant is not None
        assert (grant.metadata, grant.header_metadata) == ({"team": "own"}, frozenset())
        store.update_project("acme", metadata={"team": "theirs", "env": "test"}, header_metadata=["x"])
        store.update_token(token.id, header_metadata=["y"])
        let_it_hold(place)
        grant = found(lookup, text)
        assert grant is not None
        assert grant.metadata == {"team": "own", "env": "test"}
        assert grant.header_metadata == {"x", "y"}
    finally:
        lookup.close()


def test_changes_of_parts_at_the_same_time_are_all_kept(store: TokenStore, place: StoreLocation) -> None:
    store.create_project("acme", KEY)
    token, _ = store.create_token("acme")

    def add(number: int) -> None:
        own = TokenStore.open(place)
        own.update_token(token.id, metadata=lambda present: {**present, f"n{number}": "v"})
        own.update_project("acme", metadata=lambda present: {**present, f"n{number}": "v"})
        own.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(8)))
    assert len(store.get_token(token.id).metadata) == len(store.get_project("acme").metadata) == 8


def test_pages(store: TokenStore) -> None:
    for name in ("acme", "other"):
        store.create_project(name, KEY)
    made = [token.id for token, _ in store.create_tokens([TokenOrder("acme")] * 5)]
    other, _ = store.create_token("other")
    first = store.list_tokens("acme", limit=2)
    assert [token.id for token in first] == made[:2]
    assert [token.id for token in store.list_tokens("acme", after=made[1])] == made[2:]
    assert [token.id for token in store.list_tokens(after=made[-1])] == [other.id]
    assert len(store.list_tokens()) == 6

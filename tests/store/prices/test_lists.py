"""Price lists in the store."""

from __future__ import annotations

from store.prices.lists import KEPT, PriceLists, find_newest, read_content
from store.tokens.store import TokenStore

COUNTS = {"models": 1, "new": 1, "changed": 0}


def test_the_newest_list_is_in_force_and_in_the_audit_log(store: TokenStore) -> None:
    lists = PriceLists(store.connection, store.audit)
    assert find_newest(store.connection) is None
    first = lists.add("prices/a@2026-11-29", "a.json", "[1]", COUNTS)
    second = lists.add("prices/b@2026-11-29", "https://example.com/b.json", "[2]", COUNTS)
    assert (first.number, second.number) == (1, 2)
    assert find_newest(store.connection) == second
    assert read_content(store.connection, 2) == "[2]"
    newest, *_ = store.audit.records()
    assert newest.action == "prices.update"
    assert [record.action for record in store.audit.records()] == ["prices.update"] * 2


def test_the_same_list_again_changes_nothing(store: TokenStore) -> None:
    lists = PriceLists(store.connection, store.audit)
    first = lists.add("prices/a@2026-11-29", "a.json", "[1]", COUNTS)
    assert lists.add("prices/a@2026-11-29", "a.json", "[1]", COUNTS) == first
    assert len(list(store.audit.records())) == 1


def test_old_lists_go(store: TokenStore) -> None:
    lists = PriceLists(store.connection, store.audit)
    for number in range(KEPT + 3):
        lists.add("prices/a", "a.json", f"[{number}]", COUNTS)
    assert read_content(store.connection, 3) is None
    assert read_content(store.connection, 4) == "[3]"

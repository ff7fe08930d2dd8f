"""What rows of projects and tokens say together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from store.tokens import limits, rows
from store.tokens.models import Token
from store.tokens.rows import counts_dollars
from store.tokens.store import TokenStore

DOLLARS = {"budgets": {"usd": {"day": "1"}}}


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = TokenStore.open(tmp_path / "store.db")
    yield made
    made.close()


def test_nothing_counts_dollars_without_a_budget_in_them(store: TokenStore) -> None:
    project = store.create_project("acme", "sk-real-0123456789")
    store.create_token(project.id, limits=limits.of({"budgets": {"tokens": {"day": "1000"}}}))
    assert counts_dollars(store.connection) is False


@pytest.mark.parametrize("whose", ["project", "user", "token", "label"])
def test_any_budget_in_dollars_counts(store: TokenStore, whose: str) -> None:
    of_project: dict[str, Any] = {
        "project": {"limits": limits.of(DOLLARS)},
        "user": {"user_limits": limits.of(DOLLARS)},
    }.get(whose, {})
    project = store.create_project("acme", "sk-real-0123456789", **of_project)
    of_token: dict[str, Any] = {
        "token": {"limits": limits.of(DOLLARS)},
        "label": {"label_limits": {"team": limits.of(DOLLARS)}},
    }.get(whose, {})
    store.create_token(project.id, **of_token)
    assert counts_dollars(store.connection) is True


def test_how_rows_are_read_is_found_out_before_the_first() -> None:
    rows._reads.cache_clear()
    rows.warm_up()
    before = rows._reads.cache_info().misses
    assert rows._reads(Token)
    assert rows._reads.cache_info().misses == before

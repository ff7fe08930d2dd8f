"""Tokens have names: one of a kind in a project, and good wherever an id is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.core.errors import Conflict, Invalid
from store.tokens.models import TokenOrder
from store.tokens.store import TokenStore


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    store = TokenStore.open(tmp_path / "store.db")
    for name in ("search", "ads"):
        store.create_project(name, f"sk-real-{name}-0000000000")
    return store


def test_a_name_stands_for_the_id(store: TokenStore) -> None:
    token, _ = store.create_token("search", name="ranking")
    assert token.name == "ranking"
    assert store.token_id("ranking") == token.id
    assert store.update_token(token.id, name="sorting").name == "sorting"
    assert store.token_id("ranking") == "ranking", "nobody has that name any more"
    assert store.update_token(token.id, name=None).name is None


def test_a_project_has_a_name_once(store: TokenStore) -> None:
    token, _ = store.create_token("search", name="ranking")
    other, _ = store.create_token("search")
    with pytest.raises(Conflict, match="has a token named 'ranking'; choose another"):
        store.create_token("search", name="ranking")
    with pytest.raises(Conflict, match="has a token named"):
        store.update_token(other.id, name="ranking")
    with pytest.raises(Conflict, match="two of the tokens"):
        store.create_tokens([TokenOrder("ads", name="a"), TokenOrder("ads", name="a")])
    store.revoke_token(token.id)
    fresh, _ = store.create_token("search", name="ranking")
    assert store.token_id("ranking") == fresh.id


def test_the_same_name_in_two_projects_is_told_apart_by_ids(store: TokenStore) -> None:
    for project in ("search", "ads"):
        store.create_token(project, name="batch")
    with pytest.raises(Invalid, match="several projects have a token named 'batch'; give its id"):
        store.token_id("batch")


@pytest.mark.parametrize(
    "name", ["", "1st", "a b", "sk-llmp-abc", "x" * 65, "a2b4c6d8-aaaa-bbbb-cccc-ddddeeeeffff", "é"]
)
def test_names_that_would_be_mistaken(store: TokenStore, name: str) -> None:
    with pytest.raises(Invalid, match="token name"):
        store.create_token("search", name=name)

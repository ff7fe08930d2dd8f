from __future__ import annotations

import sqlite3
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from store.core.errors import Conflict, Invalid, NotFound, StoreError, StoreUnavailable
from store.database.sqlite.files import connect
from store.tokens.models import Selection, TokenOrder
from store.tokens.store import TokenStore
from tests.store.uses import use

KEY = "sk-live-1234567890"


def dump(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        return "\n".join(connection.iterdump())


def test_files_are_private(path: Path, store: TokenStore) -> None:
    store.create_project("acme", KEY)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_project_round_trip(store: TokenStore) -> None:
    made = store.create_project("acme", KEY)
    assert store.get_project(made.id) == store.get_project("acme") == made
    assert store.api_key("acme").reveal() == KEY
    assert made.active
    renamed = store.update_project("acme", name="Acme Ltd")
    assert (renamed.id, renamed.name) == (made.id, "Acme Ltd")
    store.update_project(made.id, api_key="sk-new")
    assert store.api_key(made.id).reveal() == "sk-new"
    assert not store.deactivate_project(made.id).active
    assert store.activate_project(made.id).active
    assert [project.name for project in store.list_projects()] == ["Acme Ltd"]
    assert KEY not in str(made.as_dict())


def test_each_change_of_a_project_is_later_than_the_one_before(store: TokenStore) -> None:
    store.create_project("acme", "sk-real")
    seen = [store.update_project("acme", api_key="env:KEY").updated_at for _ in range(20)]
    assert sorted(set(seen)) == seen


def test_project_names_are_unique(store: TokenStore) -> None:
    store.create_project("acme", KEY)
    store.create_project("other", KEY)
    with pytest.raises(Conflict, match="'acme' exists already"):
        store.create_project("acme", KEY)
    with pytest.raises(Conflict, match="'acme' exists already"):
        store.update_project("other", name="acme")


@pytest.mark.parametrize("name", ["", " acme", "a\nb", "x" * 101])
def test_bad_project_names(store: TokenStore, name: str) -> None:
    with pytest.raises(Invalid):
        store.create_project(name, KEY)


@pytest.mark.parametrize("key", ["", "sk live", "sk-\n", "sk-ключ", "sk-proxy-abc", "sk-llmp-abc"])
def test_bad_keys_are_not_repeated_in_the_message(store: TokenStore, key: str) -> None:
    with pytest.raises(Invalid) as raised:
        store.create_project("acme", key)
    assert not key or key not in str(raised.value)


def test_token_round_trip(store: TokenStore, path: Path) -> None:
    project = store.create_project("acme", KEY)
    expiry = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    metadata = {"user_id": "u-1", "team": "Suche"}
    token, text = store.create_token("acme", expires_at=expiry, max_requests=5, metadata=metadata)
    assert token.project_id == project.id
    assert (token.expires_at, token.max_requests, token.request_count) == (expiry, 5, 0)
    assert dict(token.metadata) == metadata
    assert store.get_token(token.id) == token
    assert store.list_tokens() == store.list_tokens("acme") == [token]
    assert text.reveal().startswith("sk-llmp-")
    assert text.reveal().startswith(token.prefix)
    assert len(text.reveal()) > len(token.prefix) + 30
    assert text.reveal() not in dump(path), "only a hash of the token is stored"
    assert token.as_dict()["metadata"] == metadata


def test_metadata_is_read_only(store: TokenStore) -> None:
    store.create_project("acme", KEY)
    token, _ = store.create_token("acme", metadata={"team": "search"})
    with pytest.raises(TypeError):
        token.metadata["team"] = "other"  # type: ignore[index]


@pytest.mark.parametrize(
    "metadata",
    [
        {"n": 1},
        {1: "n"},
        {"nested": {"a": "b"}},
        {"": "empty key"},
        {"k" * 65: "v"},
        {"k": "v" * 513},
        {"k": "line\nbreak"},
        {str(n): "v" for n in range(17)},
    ],
)
def test_bad_metadata(store: TokenStore, metadata: Any) -> None:
    store.create_project("acme", KEY)
    with pytest.raises(Invalid, match="metadata"):
        store.create_token("acme", metadata=metadata)
    assert store.list_tokens() == []


def test_update_token(store: TokenStore) -> None:
    store.create_project("acme", KEY)
    token, _ = store.create_token("acme", max_requests=5, metadata={"a": "1"})
    assert dict(store.update_token(token.id, metadata={"b": "2"}).metadata) == {"b": "2"}
    changed = store.update_token(token.id, max_requests=None)
    assert (changed.max_requests, dict(changed.metadata)) == (None, {"b": "2"})
    assert not store.revoke_token(token.id).active
    for bad in ({"max_requests": -1}, {"expires_at": datetime(2030, 1, 1)}):
        with pytest.raises(Invalid):
            store.update_token(token.id, **bad)  # type: ignore[arg-type]


def test_what_is_not_there(store: TokenStore) -> None:
    for ask in (store.get_project, store.get_token, store.revoke_token, store.deactivate_project):
        with pytest.raises(NotFound, match="nobody"):
            ask("nobody")
    with pytest.raises(NotFound):
        store.create_token("nobody")
    with pytest.raises(NotFound):
        store.list_tokens("nobody")


def test_no_tokens_for_an_inactive_project(store: TokenStore) -> None:
    store.create_project("acme", KEY)
    store.deactivate_project("acme")
    with pytest.raises(Conflict, match="not active"):
        store.create_token("acme")


def test_calls_are_counted_and_the_last_use_is_kept(store: TokenStore) -> None:
    store.create_project("acme", KEY)
    token, _ = store.create_token("acme")
    late, early = datetime(2026, 5, 2, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
    use(store, token.id, late, "192.0.2.1", calls=3)
    use(store, token.id, early, "192.0.2.2", calls=2)
    use(store, "unknown", late)
    used = store.get_token(token.id)
    assert (used.request_count, used.last_used_at, used.last_used_from) == (5, late, "192.0.2.1")
    use(store, token.id, late + timedelta(days=1))
    assert store.get_token(token.id).last_used_from == "192.0.2.1", "the last that is known"


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database, and longer than the header of one" * 100)
    with pytest.raises(StoreError, match=r"notes\.txt"):
        TokenStore.open(file)


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no token store at"):
        TokenStore.open(tmp_path / "typo.db", create=False)
    assert not (tmp_path / "typo.db").exists()
    with pytest.raises(StoreUnavailable):
        connect(tmp_path / "typo.db")


def test_rotation_keeps_what_belongs_to_the_id(store: TokenStore) -> None:
    store.create_project("acme", KEY)
    token, first = store.create_token("acme", max_requests=5, metadata={"team": "search"})
    use(store, token.id, datetime(2026, 5, 1, tzinfo=UTC), "192.0.2.1", calls=2)
    before = datetime.now(UTC)
    rotated, second = store.rotate_token(token.id, overlap=timedelta(hours=1))
    assert first.reveal() != second.reveal()
    assert (rotated.id, rotated.max_requests, rotated.request_count) == (token.id, 5, 2)
    assert dict(rotated.metadata) == {"team": "search"}
    assert rotated.previous_prefix == token.prefix
    assert rotated.previous_ends_at
    assert abs(rotated.previous_ends_at - before - timedelta(hours=1)) < timedelta(seconds=60)
    assert second.reveal().startswith(rotated.prefix)
    for bad in (timedelta(seconds=-1), timedelta(days=91)):
        with pytest.raises(Invalid, match="overlap"):
            store.rotate_token(token.id, overlap=bad)
    store.revoke_token(token.id)
    with pytest.raises(Conflict, match="revoked"):
        store.rotate_token(token.id, overlap=timedelta())


@pytest.mark.parametrize("prefix", ["", "sk", "-sk-", "1sk-", "sk llmp-", "s" * 40 + "-", "ключ-"])
def test_bad_prefixes(store: TokenStore, prefix: str) -> None:
    store.create_project("acme", KEY)
    with pytest.raises(Invalid, match="token prefix"):
        store.create_token("acme", prefix=prefix)


def test_tokens_with_another_prefix(store: TokenStore) -> None:
    store.create_project("acme", KEY)
    token, text = store.create_token("acme", prefix="acme_")
    assert text.reveal().startswith("acme_")
    assert len(token.prefix) == len("acme_") + 6
    with pytest.raises(Invalid, match="real key"):
        store.create_project("other", text.reveal())


def test_many_tokens_are_made_at_once_or_not_at_all(store: TokenStore) -> None:
    store.create_project("acme", KEY)
    made = store.create_tokens([TokenOrder("acme", metadata={"n": str(n)}) for n in range(500)])
    assert [token.metadata["n"] for token, _ in made] == [str(n) for n in range(500)]
    assert len({text.reveal() for _, text in made}) == 500
    assert store.create_tokens([]) == []
    for bad, error in ((TokenOrder("nobody"), NotFound), (TokenOrder("acme", max_requests=-1), Invalid)):
        with pytest.raises(error):
            store.create_tokens([TokenOrder("acme"), bad])
    assert len(store.list_tokens()) == 500


def test_tokens_are_revoked_by_what_they_have_in_common(path: Path, store: TokenStore) -> None:
    for project in ("acme", "other"):
        store.create_project(project, KEY)
        for team in ("search", "ads"):
            store.create_token(project, metadata={"team": team, 'o"d': "1"})
    now = datetime.now(UTC)
    by = {(store.get_project(t.project_id).name, t.metadata["team"]): t.id for t in store.list_tokens()}

    def selected(**criteria: Any) -> set[tuple[str, str]]:
        ids = {token.id for token in store.select_tokens(Selection(**criteria))}
        return {name for name, token_id in by.items() if token_id in ids}

    assert selected(project="acme") == {("acme", "search"), ("acme", "ads")}
    assert selected(metadata={"team": "ads", 'o"d': "1"}) == {("acme", "ads"), ("other", "ads")}
    assert selected(metadata={"team": "ad"}) == set()
    assert selected(created_before=now - timedelta(minutes=1)) == set()
    use(store, by["acme", "ads"], now + timedelta(days=50))
    assert selected(unused_since=now + timedelta(days=40)) == set(by) - {("acme", "ads")}
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE tokens SET created_at = '2026-01-01T00:00:00.000Z' WHERE id = ?", [by["other", "ads"]]
        )
    assert selected(created_before=now - timedelta(minutes=1)) == {("other", "ads")}
    revoked = store.revoke_tokens(Selection(project="other", metadata={"team": "ads"}))
    assert [(token.id, token.active) for token in revoked] == [(by["other", "ads"], False)]
    assert not store.get_token(by["other", "ads"]).active
    assert store.revoke_tokens(Selection(project="other", metadata={"team": "ads"})) == []
    assert sum(token.active for token in store.list_tokens()) == 3
    with pytest.raises(NotFound):
        store.revoke_tokens(Selection(project="nobody"))


def test_tokens_are_read_in_pages(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.tokens.store.AT_ONCE", 3)
    acme, other = (store.create_project(name, "sk-real-12345678") for name in ("acme", "other"))
    made = [store.create_token(acme.id)[0].id for _ in range(7)]
    store.create_token(other.id)
    assert [token.id for token in store.each_token("acme")] == made
    assert store.count_tokens() == len(list(store.each_token())) == 8
    tokens = store.each_token()
    assert next(tokens).id == made[0]
    store.revoke_token(made[1])
    store.revoke_token(made[4])
    assert [token.active for token in tokens] == [True, True, True, False, True, True, True], "page by page"

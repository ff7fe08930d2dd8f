"""Tokens wither: a default and a maximum lifetime, of all tokens and of a project, whoever makes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from addons.management_api import model_fields
from addons.management_api.fields import Fields
from scripts.cli import main
from store.core.errors import Invalid
from store.tokens.models import Selection, Token
from store.tokens.store import TokenStore

DAY = timedelta(days=1)


def project(store: TokenStore, usual: str | None = None, longest: str | None = None) -> str:
    fields = {"token_lifetime": usual, "token_max_lifetime": longest}
    return store.create_project("acme", "env:KEY", **fields).id


def life(token: Token) -> timedelta | None:
    return None if token.expires_at is None else token.expires_at - token.created_at


def test_a_token_without_an_expiry_gets_the_default(store: TokenStore) -> None:
    id_ = project(store, "30d")
    assert life(store.create_token(id_)[0]) == 30 * DAY
    assert life(store.create_token(id_, expires_at=None)[0]) is None, "never was said"
    store.update_project(id_, token_max_lifetime="7d")
    assert life(store.create_token(id_)[0]) == 7 * DAY, "a longer default is cut"


def test_no_token_lives_longer_than_the_maximum(store: TokenStore) -> None:
    id_ = project(store, longest="7d")
    with pytest.raises(Invalid, match=r"must end within 7d \(maximum of project\); give an expiry"):
        store.create_token(id_)
    for ends in (None, datetime.now(UTC) + 8 * DAY):
        with pytest.raises(Invalid, match="must end within 7d"):
            store.create_token(id_, expires_at=ends)
    token, _ = store.create_token(id_, expires_at=datetime.now(UTC) + 7 * DAY)
    for later in (None, token.created_at + 7 * DAY + timedelta(seconds=1)):
        with pytest.raises(Invalid, match="must end within 7d"):
            store.update_token(token.id, expires_at=later)
    assert life(store.update_token(token.id, expires_at=token.created_at + DAY)) == DAY


def test_tokens_from_before_the_maximum_may_stay(store: TokenStore) -> None:
    id_ = project(store)
    token, _ = store.create_token(id_)
    store.update_project(id_, token_max_lifetime="7d")
    assert store.update_token(token.id, expires_at=None, max_requests=3).max_requests == 3


def test_settings_of_all_tokens(store: TokenStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    id_ = project(store)
    (tmp_path / "llmproxy.toml").write_text('token_lifetime = "2d"\ntoken_max_lifetime = "10d"\n')
    monkeypatch.setenv("LLMPROXY_CONFIG", str(tmp_path / "llmproxy.toml"))
    assert life(store.create_token(id_)[0]) == 2 * DAY
    store.update_project(id_, token_lifetime="3d", token_max_lifetime="20d")
    assert life(store.create_token(id_)[0]) == 3 * DAY, "the project's goes before"
    with pytest.raises(Invalid, match=r"must end within 10d of their making \(maximum of all tokens\)"):
        store.create_token(id_, expires_at=datetime.now(UTC) + 15 * DAY)
    monkeypatch.setenv("LLMPROXY_TOKEN_MAX_LIFETIME", "soon")
    with pytest.raises(Invalid, match="LLMPROXY_TOKEN_MAX_LIFETIME: 'soon': write 90d"):
        store.create_token(id_)


def test_lifetimes_that_cannot_be(store: TokenStore) -> None:
    for text in ("0s", "999999w", "ever"):
        with pytest.raises(Invalid):
            project(store, usual=text)


def test_every_door_is_bound(store: TokenStore, tmp_path: Path) -> None:
    id_ = project(store, longest="7d")
    url = store.location.url.reveal() if store.location.url else str(store.location.path)

    def run(*arguments: str, stdin: str | None = None) -> str:
        result = CliRunner().invoke(main, ["--store", url, *arguments], input=stdin)
        assert (result.exit_code, "must end within 7d" in result.stderr) in ((0, False), (2, True))
        return result.stdout

    assert not run("token", "create", "--project", "acme", "--expires", "8d")
    assert not run("token", "create", "--project", "acme", "--expires", "never")
    assert not run("token", "create", "--project", "acme")
    assert not run("token", "import", "-", stdin="project,expires\nacme,1d\nacme,8d\n")
    assert not run("token", "import", "-", stdin="project\nacme\n")
    declared = tmp_path / "projects.yaml"
    declared.write_text("projects: [{name: acme, metadata: {a: b}, tokens: [{name: one}]}]\n")
    assert not run("apply", "-f", str(declared))
    assert not store.get_project(id_).metadata, "it is checked before the first change"
    for body in (b"{}", b'{"expires_at": null}', b'{"expires_at": "8d"}'):
        given = model_fields.given(Fields.of_body(body, model_fields.names_of(Token)), Token)
        with pytest.raises(Invalid, match="must end within 7d"):
            store.create_token(id_, **given)
    assert store.list_tokens() == []

    run("project", "update", "acme", "--token-lifetime", "5d")
    made = json.loads(run("token", "import", "-", "--json", stdin="project,expires\nacme,\nacme,1d\n"))
    lives = [life(store.get_token(token["id"])) for token in made]
    assert lives[0] == 5 * DAY
    assert lives[1] is not None
    assert lives[1] <= DAY
    assert '"create"' in run("apply", "-f", str(declared), "--json")
    assert run("apply", "-f", str(declared), "--json") == "[]\n"


def test_when_it_was_revoked_or_deactivated(store: TokenStore) -> None:
    id_ = project(store)
    tokens = [store.create_token(id_)[0] for _ in range(2)]
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    revoked = store.revoke_token(tokens[0].id)
    assert revoked.revoked_at is not None
    assert before < revoked.revoked_at <= datetime.now(UTC)
    assert store.revoke_token(tokens[0].id).revoked_at == revoked.revoked_at, "again is no other time"
    (other,) = store.revoke_tokens(Selection("acme"))
    shown = store.get_token(other.id).as_dict()
    assert shown["revoked_at"] == other.as_dict()["revoked_at"] is not None
    ended = store.deactivate_project(id_)
    assert ended.deactivated_at is not None
    assert store.deactivate_project(id_).deactivated_at == ended.deactivated_at
    assert store.update_project(id_, name="new").as_dict()["deactivated_at"]
    assert store.activate_project(id_).as_dict()["deactivated_at"] is None

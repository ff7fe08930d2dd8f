"""What the token says is the user; what a request says is a claim."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.flow.identity import identity
from store.core.event import User
from store.keys.project_keys import StoredKey
from store.tokens.models import Grant, Project, Token

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def grant(token: Mapping[str, str], project: Mapping[str, str] | None = None) -> Grant:
    return Grant(
        Project("p", "acme", StoredKey("env:KEY"), True, NOW, NOW, metadata=project or {}),
        Token("t", "sk", "p", True, NOW, None, None, 0, None, token),
    )


@pytest.mark.parametrize(
    ("token", "project", "user"),
    [
        ({"user_id": "ada", "app_user_id": "app"}, {"user_id": "all"}, ("ada", "token_metadata.user_id")),
        ({"app_user_id": "app"}, {"user_id": "all"}, ("app", "token_metadata.app_user_id")),
        ({"user_id": ""}, {"user_id": "all", "app_user_id": "b"}, ("b", "project_metadata.app_user_id")),
        ({"team": "x"}, {"user_id": "all"}, ("all", "project_metadata.user_id")),
        ({}, {}, ("h", "request_metadata.app_user_id")),
    ],
)
def test_order(token: dict[str, str], project: dict[str, str], user: tuple[str, str]) -> None:
    said = {"app_user_id": "h", "team": "no user"}
    found, claims = identity(grant(token, project), said, {"user": "u"})
    assert found == User(*user)
    assert claims == {"request_metadata.app_user_id": "h", "user": "u"}


def test_without_a_token_or_a_claim() -> None:
    assert identity(None, {}, {}) == (None, {})
    found, _ = identity(None, {}, {"metadata.user_id": "m"})
    assert found == User("m", "metadata.user_id")


def test_claims_are_cut() -> None:
    found, claims = identity(None, {}, {"user": "u" * 10_000})
    assert found == User("u" * 512, "user")
    assert claims == {"user": "u" * 512}


names = st.sampled_from(["user_id", "app_user_id", "team"])
texts = st.text(min_size=1, max_size=20)


@given(
    own=st.dictionaries(names, texts, min_size=1),
    project=st.dictionaries(names, texts),
    headers=st.dictionaries(names, texts),
    body=st.dictionaries(st.sampled_from(["safety_identifier", "user", "metadata.user_id"]), texts),
)
def test_no_claim_changes_what_the_token_says(
    own: dict[str, str], project: dict[str, str], headers: dict[str, str], body: dict[str, str]
) -> None:
    holder = grant(own, project)
    (found, claims), (alone, _) = identity(holder, headers, body), identity(holder, {}, {})
    if alone is not None:
        assert found == alone
    assert holder.metadata == {**project, **own}
    assert set(body.values()) <= set(claims.values())

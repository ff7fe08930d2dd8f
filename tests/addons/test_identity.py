"""What the token says is the user; what a request says is a claim."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.identity import identity
from store.models import Grant, Project, Token
from store.project_keys import StoredKey

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
    found = identity(grant(token, project), said, {"user": "u"})
    assert (found["user"]["id"], found["user"]["source"]) == user
    assert found["user_claims"] == {"request_metadata.app_user_id": "h", "user": "u"}


def test_without_a_token_or_a_claim() -> None:
    assert identity(None, {}, {}) == {"user": None, "user_claims": {}}
    assert identity(None, {}, {"metadata.user_id": "m"})["user"] == {"id": "m", "source": "metadata.user_id"}


def test_claims_are_cut() -> None:
    found: Any = identity(None, {}, {"user": "u" * 10_000})
    assert len(found["user"]["id"]) == len(found["user_claims"]["user"]) == 512


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
    found, alone = identity(holder, headers, body), identity(holder, {}, {})
    if alone["user"] is not None:
        assert found["user"] == alone["user"]
    assert holder.metadata == {**project, **own}
    assert set(body.values()) <= set(found["user_claims"].values())

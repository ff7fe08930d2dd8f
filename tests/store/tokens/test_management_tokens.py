"""Management tokens on each engine; their texts are nowhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from store.tokens.management_tokens import ManagementTokens
from store.tokens.store import TokenStore


def test_they_admit_until_they_end(store: TokenStore) -> None:
    tokens, now = ManagementTokens(store.connection, store.audit), datetime.now(UTC)
    project = store.create_project("acme", "sk-real-12345678")
    made, text = tokens.create("ci", "project", projects=[project.id], expires_at=now + timedelta(hours=1))
    admitted = tokens.admit(text.reveal(), now)
    assert admitted is not None
    assert (admitted.id, admitted.projects, admitted.last_used_at) == (made.id, (project.id,), None)
    assert tokens.list()[0].last_used_at is not None
    assert tokens.admit(text.reveal(), now + timedelta(hours=2)) is None
    assert tokens.admit(text.reveal() + "x", now) is None
    tokens.revoke(made.id)
    assert tokens.admit(text.reveal(), now) is None

"""Identify who makes a call. What the token says is its identity; what the request says is a claim.

Claims are kept, all of them and beside the identity, whether they agree with it or not. One of them counts as
the user only where neither the token nor its project names one.
"""

from __future__ import annotations

from collections.abc import Mapping

from addons.flow.request_metadata import USER_NAMES
from store.core.event import User
from store.tokens.models import Grant
from store.tokens.validation import METADATA_VALUE


def identity(
    grant: Grant | None, request_metadata: Mapping[str, str], users: Mapping[str, str]
) -> tuple[User | None, dict[str, str]]:
    """Give the `user` and `user_claims` of an event. `users` are those in the request's body, by member."""
    by_header = {name: request_metadata[name] for name in USER_NAMES if name in request_metadata}
    claims = {f"request_metadata.{name}": text for name, text in by_header.items()}
    claims |= {source: text[:METADATA_VALUE] for source, text in users.items()}
    user = user_named(grant.token.metadata, grant.project.metadata) if grant else None
    if user is None and claims:
        source, claim = next(iter(claims.items()))
        user = User(claim, source)
    return user, claims


def user_named(token: Mapping[str, str], project: Mapping[str, str]) -> User | None:
    """Name the user whom a token's metadata names, else the one whom its project's does."""
    inherited = {name: text for name, text in project.items() if name not in token}
    for whose, metadata in (("token_metadata", token), ("project_metadata", inherited)):
        for name in USER_NAMES:
            if metadata.get(name):
                return User(metadata[name], f"{whose}.{name}")
    return None

"""Provide the project and the token that ``scripts/up`` works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scripts.quickstart import standin
from store.core.errors import NotFound
from store.database.location import StoreLocation
from store.tokens import validation
from store.tokens.store import TokenStore

TOKEN_DAYS = 30


class KeyRefused(Exception):
    """``OPENAI_API_KEY`` can't be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Holds what a client needs."""

    project: str
    token_id: str
    token: str


def real_key(environment: Mapping[str, str]) -> str | None:
    """Give the key for the API, if there is one. Raises KeyRefused for a proxy token in its place."""
    key = environment.get("OPENAI_API_KEY", "").strip()
    if validation.is_token(key):
        raise KeyRefused(
            "OPENAI_API_KEY holds a proxy token, as pasted into clients; unset it, or set it to the real key."
        )
    return key or None


def prepare(store: StoreLocation, key: str | None) -> Credentials:
    """Make the project if it is missing, see that it holds the key, and make a token. Raises StoreError.

    The stand-in has a project of its own, so that a start without a key leaves the real one as it was.
    """
    name, wanted = ("default", key) if key else ("stand-in", standin.KEY)
    tokens = TokenStore.open(store)
    try:
        try:
            project = tokens.get_project(name)
        except NotFound:
            project = tokens.create_project(name, wanted)
        # One that is kept elsewhere was put there on purpose.
        if not project.key.is_reference and tokens.api_key(project.id).reveal() != wanted:
            project = tokens.update_project(project.id, api_key=wanted)
        expires = datetime.now(UTC) + timedelta(days=TOKEN_DAYS)
        token, text = tokens.create_token(project.id, expires_at=expires, metadata={"made_by": "scripts/up"})
        return Credentials(project.name, token.id, text.reveal())
    finally:
        tokens.close()

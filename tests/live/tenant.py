"""A store with a project, and its tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from store.tokens.store import TokenStore

REAL_KEY = "sk-real-0123456789abcdefghijklmnopqrstuvwxyz"


class Tenant:
    """A store with one project, from which tokens are made."""

    def __init__(self, place: Path | str) -> None:
        self.store = TokenStore.open(place)
        self.project = self.store.create_project("acme", REAL_KEY)

    def token(self, **policy: Any) -> tuple[str, str]:
        """Id and text of a new token."""
        token, text = self.store.create_token(self.project.id, **policy)
        return token.id, text.reveal()
